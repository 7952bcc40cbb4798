"""Test that the audit log can be verified with openssl and the standard library alone."""

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


def run_command(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def openssl() -> str:
    return require("openssl")


@pytest.fixture
def audit_folder(tmp_path: Path, openssl: str) -> Path:
    """A log with a checkpoint signed by a key that openssl created, and two entries after the checkpoint."""
    private_key = tmp_path / "secret.pem"
    run_command(openssl, "genpkey", "-algorithm", "ed25519", "-out", str(private_key))
    log = AuditLog.open(tmp_path / "audit")
    log.pin_key(run_command(openssl, "pkey", "-in", str(private_key), "-pubout").encode())
    append_entries(log, SIZE)
    checkpoint = log.checkpoint("sealyard/interop")
    (tmp_path / "text").write_bytes(checkpoint_body(checkpoint))
    run_command(openssl, "pkeyutl", "-sign", "-inkey", str(private_key), "-rawin", "-in", str(tmp_path / "text"),
        "-out", str(tmp_path / "signature"))  # fmt: skip
    public_key = (log.folder / "audit-key.pem").read_bytes()
    log.append_checkpoint(format_note(checkpoint, public_key, (tmp_path / "signature").read_bytes()))
    append_entries(log, 2)
    return log.folder


def append_entries(log: AuditLog, count: int) -> None:
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


def verify_note_with_openssl(openssl: str, audit_folder: Path, work_dir: Path) -> str:
    lines = (audit_folder / "checkpoints.txt").read_text().splitlines(keepends=True)[-5:]
    (work_dir / "note.txt").write_text("".join(lines[:3]))
    (work_dir / "note.sig").write_bytes(base64.b64decode(lines[4].split(" ")[2])[4:])
    return run_command(openssl, "pkeyutl", "-verify", "-pubin", "-inkey", str(audit_folder / "audit-key.pem"), "-rawin",
               "-in", str(work_dir / "note.txt"), "-sigfile", str(work_dir / "note.sig"))  # fmt: skip


def test_openssl_verifies_checkpoint(openssl: str, audit_folder: Path, tmp_path: Path) -> None:
    assert "Signature Verified Successfully" in verify_note_with_openssl(openssl, audit_folder, tmp_path)


def test_openssl_rejects_modified_checkpoint(openssl: str, audit_folder: Path, tmp_path: Path) -> None:
    checkpoints = audit_folder / "checkpoints.txt"
    checkpoints.write_text(checkpoints.read_text().replace("\n5\n", "\n4\n"))
    with pytest.raises(AssertionError, match="Verification Failure"):
        verify_note_with_openssl(openssl, audit_folder, tmp_path)


def test_standard_library_script_recomputes_root(audit_folder: Path) -> None:
    _, size, root, *_ = (audit_folder / "checkpoints.txt").read_text().splitlines()
    assert run_command(sys.executable, "-I", str(SCRIPT), str(audit_folder), size) == root + "\n"
