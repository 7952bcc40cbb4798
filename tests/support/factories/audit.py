"""Factories of small audit logs with a known key, and a helper to tamper with their files."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealyard.audit.checkpoint import checkpoint_body, format_note
from sealyard.audit.log import AuditLog
from sealyard.model.audit import AuditAction, AuditEntry

ORIGIN = "sealyard/test"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def public_pem(key: Ed25519PrivateKey = KEY) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def draft(log: AuditLog, message: str = "", *, minutes: int = 0) -> AuditEntry:
    number = log.next_seq
    return log.prepare(
        timestamp=START + timedelta(minutes=minutes or number),
        author=("USER:anna", "USER:ben", "SYSTEM:engine")[number % 3],
        change=AuditAction.APPROVED if number % 2 else AuditAction.CREATED,
        resource=f"TASK:{number:04x}" if number % 4 else "DEVICE_CONFIG:gateway",
        message=message or f"entry number {number}",
        new_value={"number": number} if number % 5 else None,
    )


def add(log: AuditLog, count: int, message: str = "") -> list[AuditEntry]:
    entries = [draft(log, message) for _ in range(count)]
    log.append(entries)
    return entries


def add_checkpoint(log: AuditLog, key: Ed25519PrivateKey = KEY) -> str:
    checkpoint = log.checkpoint(ORIGIN)
    note = format_note(checkpoint, public_pem(key), key.sign(checkpoint_body(checkpoint)))
    log.append_checkpoint(note)
    return note


def make_log(folder: Path, sizes: tuple[int, ...] = (4, 7), *, uncheckpointed: int = 0, message: str = "") -> AuditLog:
    """Create a log with a checkpoint at each of ``sizes``, followed by ``uncheckpointed`` entries."""
    log = AuditLog.open(folder)
    log.pin_key(public_pem())
    for size in sizes:
        add(log, size - log.size, message)
        add_checkpoint(log)
    add(log, uncheckpointed, message)
    return log


def tamper_lines(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Replace the lines of a file by the result of ``change``."""
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(lines)))
