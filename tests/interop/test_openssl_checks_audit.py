"""A stranger checks an audit log: openssl for the signature, a short script for the root, nothing of ours."""

from __future__ import annotations

import base64
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sealyard.audit.checkpoint import checkpoint_body, format_note
from sealyard.audit.log import AuditLog
from sealyard.model.audit import AuditAction
from tests.support.programs import require

pytestmark = pytest.mark.interop

SCRIPT = Path(__file__).with_name("audit_root.py")
SIZE = 5


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def openssl() -> str:
    return require("openssl")


@pytest.fixture
def folder(tmp_path: Path, openssl: str) -> Path:
    """A log sealed by a key that openssl made and keeps; two entries more are not sealed."""
    secret = tmp_path / "secret.pem"
    run(openssl, "genpkey", "-algorithm", "ed25519", "-out", str(secret))
    log = AuditLog.open(tmp_path / "audit")
    log.pin_key(run(openssl, "pkey", "-in", str(secret), "-pubout").encode())
    write(log, SIZE)
    checkpoint = log.checkpoint("sealyard/interop")
    (tmp_path / "text").write_bytes(checkpoint_body(checkpoint))
    run(openssl, "pkeyutl", "-sign", "-inkey", str(secret), "-rawin", "-in", str(tmp_path / "text"),
        "-out", str(tmp_path / "signature"))  # fmt: skip
    public_key = (log.folder / "audit-key.pem").read_bytes()
    log.append_checkpoint(format_note(checkpoint, public_key, (tmp_path / "signature").read_bytes()))
    write(log, 2)
    return log.folder


def write(log: AuditLog, count: int) -> None:
    log.append(
        [
            log.prepare(
                timestamp=datetime(2026, 11, 23, tzinfo=UTC),
                author="USER:anna",
                change=AuditAction.CREATED,
                resource=f"TASK:{number}",
                message="Grüße\n\x1b[31m",
            )
            for number in range(count)
        ]
    )


def verify_note_with_openssl(openssl: str, folder: Path, work: Path) -> str:
    lines = (folder / "checkpoints.txt").read_text().splitlines(keepends=True)[-5:]
    (work / "note.txt").write_text("".join(lines[:3]))
    (work / "note.sig").write_bytes(base64.b64decode(lines[4].split(" ")[2])[4:])
    return run(openssl, "pkeyutl", "-verify", "-pubin", "-inkey", str(folder / "audit-key.pem"), "-rawin",
               "-in", str(work / "note.txt"), "-sigfile", str(work / "note.sig"))  # fmt: skip


def test_openssl_alone_verifies_a_checkpoint(openssl: str, folder: Path, tmp_path: Path) -> None:
    assert "Signature Verified Successfully" in verify_note_with_openssl(openssl, folder, tmp_path)


def test_openssl_refuses_a_changed_checkpoint(openssl: str, folder: Path, tmp_path: Path) -> None:
    notes = folder / "checkpoints.txt"
    notes.write_text(notes.read_text().replace("\n5\n", "\n4\n"))
    with pytest.raises(AssertionError, match="Verification Failure"):
        verify_note_with_openssl(openssl, folder, tmp_path)


def test_a_script_of_the_standard_library_finds_the_sealed_root(folder: Path) -> None:
    _, size, root, *_ = (folder / "checkpoints.txt").read_text().splitlines()
    assert run(sys.executable, "-I", str(SCRIPT), str(folder), size) == root + "\n"
