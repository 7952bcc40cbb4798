"""The first start: what Sealyard is, and the way to a workspace of one's own, to the demo, or out again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from sealyard.client.config.workspaces import current_user_name, default_workspace_path, detect_key_store
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import SealyardError
from sealyard.model.workspace import KeyStore
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.terminal.signals import install_signal_handlers


class CreateWorkspaceChoice(FrozenStruct, frozen=True, kw_only=True):
    """What is to be founded. The passphrase, where one is needed, is for the plain terminal to ask."""

    folder: Path
    name: str
    administrator: str
    key_store: KeyStore


class OpenDemoChoice(FrozenStruct, frozen=True, kw_only=True):
    """A throw-away workspace is wanted."""


StartChoice = CreateWorkspaceChoice | OpenDemoChoice


class WelcomeApp(App[StartChoice | None]):
    """Answers what to begin with; None where the person leaves."""

    TITLE = "Sealyard"
    CSS_PATH = ["../../app.tcss", "../../dialogs/base.tcss"]
    ENABLE_COMMAND_PALETTE = False

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True, id="app.quit"),
    ]

    def __init__(
        self, preferences: Preferences, wanted: CreateWorkspaceChoice | None = None, error: SealyardError | None = None
    ) -> None:
        """``wanted``: answers of a time before, which came to ``error``."""
        super().__init__()
        self._preferences = preferences
        self.wanted = wanted
        self.error = error
        self._key_store: asyncio.Future[KeyStore] | None = None

    async def on_mount(self) -> None:
        from sealyard_tui.screens.welcome.screen import WelcomeScreen

        install_signal_handlers(self)
        for theme in self._preferences.themes:
            self.register_theme(theme)
        self.theme = self._preferences.theme
        self.animation_level = self._preferences.settings.animations
        # A keyring may take seconds to say whether it is there.
        self._key_store = asyncio.ensure_future(asyncio.to_thread(detect_key_store))
        await self.push_screen(WelcomeScreen())

    async def default_folder(self) -> CreateWorkspaceChoice:
        """The answers of the time before, else those that fit most."""
        assert self._key_store is not None
        place = default_workspace_path()
        return self.wanted or CreateWorkspaceChoice(
            folder=place, name=place.name, administrator=current_user_name(), key_store=await self.best_key_store()
        )

    async def best_key_store(self) -> KeyStore:
        assert self._key_store is not None
        return await asyncio.shield(self._key_store)
