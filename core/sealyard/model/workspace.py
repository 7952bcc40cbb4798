"""The layout of a workspace directory and the metadata file in it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path

from msgspec import UNSET, UnsetType

from sealyard.model.base import FrozenStruct
from sealyard.model.zones import ZoneSettings

LAYOUT_VERSION = 2
"""The layout version that this release reads and writes."""


class KeyStore(StrEnum):
    """Where the master key is stored: in the OS keyring, or in a file that is encrypted under a passphrase."""

    OS_KEYRING = "os-keyring"
    PASSPHRASE = "passphrase"  # noqa: S105 - a kind of key store, not a secret


class WorkspaceMetadata(FrozenStruct, frozen=True, kw_only=True):
    """The contents of ``workspace.json``.

    ``database`` is the connection string of the PostgreSQL database that contains the store and the audit log, without
    a password; unset if they are in the folder. ``artifacts`` is the URL of the place in an S3 bucket that contains
    inputs and results, without credentials; unset if they are in the folder. ``zone`` is the crypto zone that executes
    the tasks; unset if workers on this machine do.
    """

    id: str
    name: str
    format: int
    demo: bool
    key_store: KeyStore
    administrator: str
    created_at: datetime
    database: str | UnsetType = UNSET
    artifacts: str | UnsetType = UNSET
    zone: ZoneSettings | UnsetType = UNSET


class WorkspacePaths:
    """Paths of the files and directories of a workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "workspace.json"
        self.host = root / "host.json"  # of a crypto host
        self.lock = root / "lock"
        self.move = root / "move.json"
        self.moved = root / "moved"
        self.clock = root / "clock.json"
        self.store = root / "store"
        self.audit = root / "audit"
        self.artifacts = root / "artifacts"
        self.keys = root / "keys"
        self.link_key = root / "keys" / "links"  # of earlier versions, as is the next one; see engine/key_migration.py
        self.secrets_key = root / "keys" / "secrets"
        self.profiles = root / "profiles.json"
        self.engine_log = root / "logs" / "engine.log"
        self.worker_settings = root / "worker.toml"
        self.worker_log = root / "logs" / "worker.log"
        self.worker_state = root / "worker" / "state.log"
        self.intents = root / "worker" / "intents.jsonl"  # of earlier versions; migrated to the worker state
