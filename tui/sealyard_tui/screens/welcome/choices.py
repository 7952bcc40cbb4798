"""What the user can choose on the first start."""

from __future__ import annotations

from pathlib import Path

from sealyard.model.base import FrozenStruct
from sealyard.model.workspace import KeyStore


class CreateWorkspaceChoice(FrozenStruct, frozen=True, kw_only=True):
    """Create a workspace. A passphrase, if needed, is asked for on the plain terminal."""

    folder: Path
    name: str
    administrator: str
    key_store: KeyStore


class OpenDemoChoice(FrozenStruct, frozen=True, kw_only=True):
    """Open a temporary demo workspace."""


StartChoice = CreateWorkspaceChoice | OpenDemoChoice
