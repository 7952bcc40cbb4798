"""The choices that the user can make on the welcome screen."""

from __future__ import annotations

from pathlib import Path

from sealyard.model.base import FrozenStruct
from sealyard.model.workspace import KeyStore


class CreateWorkspaceChoice(FrozenStruct, frozen=True, kw_only=True):
    """The choice to create a workspace. The launcher asks for the passphrase if the key store requires one."""

    folder: Path
    name: str
    administrator: str
    key_store: KeyStore


class OpenDemoChoice(FrozenStruct, frozen=True, kw_only=True):
    """The choice to open a temporary demo workspace."""


StartChoice = CreateWorkspaceChoice | OpenDemoChoice
