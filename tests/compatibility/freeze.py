"""Write a workspace, containers and logs with an installed version of Sealyard, and pack them for the tests.

``python -m tests.compatibility.freeze NAME [--sealyard COMMAND]`` creates ``tests/compatibility/frozen/NAME.tar.gz``.
Only commands that all versions have are used, so that an older version can be frozen too. Never replace an archive:
it shows that later versions still read the files of that version.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from tests.compatibility.installation import CommandError, Installation

FROZEN = Path(__file__).parent / "frozen"
LONG = "3650d"
"""The longest period that a policy accepts: the waiting task and the results must exist when the tests run."""

INPUTS = {
    "bootloader.bin": bytes(range(256)) * 12,
    "application.bin": b"application" * 400 + bytes(17),
    "release.json": b'{"version": "1.4.2", "board": "gateway-b"}\n',
    "message.txt": b"a message to sign\n",
}
TRANSIENT = ("lock", "sock", "logs")
"""Files of a workspace that are not part of its state."""


def freeze(name: str, command: Path) -> Path:
    """Create the archive. Raises :class:`FileExistsError` if it exists."""
    archive = FROZEN / f"{name}.tar.gz"
    if archive.exists():
        raise FileExistsError(archive)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        record = _fill(Installation(root, command))
        (root / "record.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        for transient in TRANSIENT:
            for path in (root / "workspace").glob(f"{transient}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        FROZEN.mkdir(exist_ok=True)
        with tarfile.open(archive, "w:gz") as tar:
            for member in (
                "workspace",
                "anchors",
                "state",
                "inputs",
                "downloads",
                "certificates.pem",
                "audit.jsonl",
                "record.json",
            ):
                if (root / member).exists():
                    tar.add(root / member, member)
    return archive


def _fill(installation: Installation) -> dict[str, Any]:
    """Create the workspace, and tasks in all states that survive a restart. Return what the tests expect."""
    run = installation.run
    inputs = installation.root / "inputs"
    inputs.mkdir()
    for name, content in INPUTS.items():
        (inputs / name).write_bytes(content)
    run("init", "--name", "yard", "--admin", "USER:admin", "--key-store", "passphrase")
    for user in ("dev", "owner"):
        run("subject", "add", f"USER:{user}")
        run("profile", "add", user, "--identity", f"USER:{user}")
    run("policy", "set", "--approval-timeout", LONG, "--execution-timeout", LONG)
    for device, encryption, signing in (
        ("gateway", "AES256_CBC_PKCS7_PAD", "ECC_NIST_P256"),
        ("meter", "AES128_CTR_NO_PAD", "RSA_3072"),
    ):
        run(
            *("device", "create", device, "--encryption", encryption, "--signing", signing),
            *("--use", "USER:dev", "--approve", "USER:owner", "--link-ttl", LONG, "--retention", LONG),
        )
    run("webhook", "add", "https://hooks.example.org/sealyard")
    done = [_request_package(installation, device) for device in ("gateway", "meter")]
    rejected, withdrawn, waiting = (_request_package(installation, "gateway", "application.bin") for _ in range(3))
    for task in done:
        run("--profile", "owner", "approve", task, "--reason", "tested on bench 3")
    run("--profile", "owner", "reject", rejected, "--reason", "wrong board")
    run("--profile", "dev", "withdraw", withdrawn, "--reason", "wrong file")
    signature = run("--profile", "dev", "sign", "--device", "gateway", "--file", str(inputs / "message.txt"))["id"]
    run("--profile", "owner", "approve", signature)
    encrypted = run("--profile", "dev", "encrypt", "--device", "meter", str(inputs / "application.bin"))["id"]
    run("key", "rotate", "local:meter-signing")
    run("--profile", "dev", "download", *done, "--out", str(installation.root / "downloads"))
    certificates = installation.run_text("device", "certificates", "gateway")
    (installation.root / "certificates.pem").write_text(certificates)
    export = installation.run_text("audit", "export", "--format", "jsonl")
    (installation.root / "audit.jsonl").write_text(export)
    tasks = {
        **dict.fromkeys((*done, signature, encrypted), "DONE"),
        **dict.fromkeys((rejected, withdrawn), "CANCELLED"),
        waiting: "WAITING",
    }
    downloads = sorted((installation.root / "downloads").iterdir())
    return {
        "tasks": tasks,
        "waiting": waiting,
        "packages": done,
        "downloads": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in downloads},
        "auditEntries": len(export.splitlines()),
    }


def _request_package(installation: Installation, device: str, *firmware: str) -> str:
    inputs = installation.root / "inputs"
    names = firmware or ("bootloader.bin", "application.bin")
    files = [str(inputs / name) for name in names]
    task: str = installation.run(
        *("--profile", "dev", "package", "--device", device, "--firmware", *files),
        *("--metadata", str(inputs / "release.json")),
    )["id"]
    return task


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.compatibility.freeze")
    parser.add_argument("name")
    parser.add_argument("--sealyard", type=Path, default=Path(sys.executable).parent / "sealyard")
    arguments = parser.parse_args()
    try:
        archive = freeze(arguments.name, arguments.sealyard)
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{archive}: {archive.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
