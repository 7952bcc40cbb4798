"""Checks of keys: each active key regularly proves that it works, by use."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sealyard.model.base import FrozenStruct


class KeyUse(StrEnum):
    """What an active key is used for."""

    ENCRYPTION = "encryption"
    SIGNING = "signing"
    AUDIT = "audit"


class KeyCheck(FrozenStruct, frozen=True, kw_only=True):
    """The result of the last check of an active key.

    ``uri``: that of the key, or ``audit`` for the key that signs the checkpoints of the audit log. ``error`` and
    ``code``: why the check failed, with the code of the error; empty if it passed. ``since``: time of the first failed
    check in a row; None if the last check passed.
    """

    use: KeyUse
    uri: str
    version: int
    algorithm: str
    error: str = ""
    code: str = ""
    since: datetime | None = None

    @property
    def id(self) -> str:
        """The id under which a failure is stored."""
        return f"{self.uri} {self.version} {self.algorithm}"

    @property
    def passed(self) -> bool:
        return not self.error

    @property
    def label(self) -> str:
        return "The audit key" if self.use is KeyUse.AUDIT else f"{self.uri} version {self.version}"

    @property
    def warning(self) -> str:
        """The text for users about a failed check."""
        return f"{self.label} failed its last check: {self.error}"
