"""The application that runs when there is no workspace yet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.filter import LineFilter

from sealyard.client.config.workspaces import detect_key_store
from sealyard.model.errors import SealyardError
from sealyard.model.workspace import KeyStore
from sealyard_tui.appearance.ascii_filter import AsciiFilter
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.screens.welcome.choices import CreateWorkspaceChoice, StartChoice
from sealyard_tui.screens.welcome.screen import WelcomeScreen
from sealyard_tui.terminal.signals import install_signal_handlers

_ASCII = AsciiFilter()


class WelcomeApp(App[StartChoice | None]):
    """Application that shows the welcome screen. Returns the choice of the user, or None to quit."""

    TITLE = "Sealyard"
    CSS_PATH = ["../../app.tcss", "../../dialogs/base.tcss"]
    ENABLE_COMMAND_PALETTE = False
    SUSPENDED_SCREEN_CLASS = "-suspended"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", show=False, priority=True, id="app.force_quit"),
    ]

    def __init__(
        self,
        preferences: Preferences,
        previous_choice: CreateWorkspaceChoice | None = None,
        error: SealyardError | None = None,
    ) -> None:
        """``previous_choice``: the answers from an earlier run, shown again. ``error``: the error that they caused."""
        super().__init__()
        self._preferences = preferences
        self.previous_choice = previous_choice
        self.error = error
        self._key_store: asyncio.Future[KeyStore] | None = None

    async def on_mount(self) -> None:
        install_signal_handlers(self)
        for theme in self._preferences.themes:
            self.register_theme(theme)
        self.theme = self._preferences.theme
        self.animation_level = self._preferences.settings.animations
        # Start early: probing a keyring can take several seconds.
        self._key_store = asyncio.ensure_future(asyncio.to_thread(detect_key_store))
        await self.push_screen(WelcomeScreen(self._get_key_store, self.previous_choice, self.error))

    def get_line_filters(self) -> Sequence[LineFilter]:
        filters = list(super().get_line_filters())
        return [*filters, _ASCII] if self._preferences.uses_ascii else filters

    async def _get_key_store(self) -> KeyStore:
        assert self._key_store is not None
        return await asyncio.shield(self._key_store)
