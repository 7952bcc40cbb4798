"""The audit key of a workspace, which signs the checkpoints of its audit log."""

from __future__ import annotations

from pathlib import Path

from sealyard.keys.local import LocalKeyProvider

AUDIT_KEY_NAME = "audit"


def open_audit_provider(workspace: Path, master_key: bytes) -> LocalKeyProvider:
    """Return the provider that has only the audit key. Raises the errors of :class:`LocalKeyProvider`."""
    return LocalKeyProvider(workspace / "keys" / "audit", master_key)
