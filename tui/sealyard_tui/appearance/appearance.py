"""Appearance and input settings at run time: theme, compact mode, animations, mouse and keymap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from textual.app import App
from textual.dom import DOMNode
from textual.timer import Timer

from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_text
from sealyard_tui.action_keys import action_key, action_keys
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.appearance.ui_state import ScreenState
from sealyard_tui.session.hints import app_hint
from sealyard_tui.terminal.mouse import is_mouse_enabled, set_mouse_enabled

COMPACT = "-compact"
"""CSS class of the application in compact mode."""

SAVE_DELAY = 1.0
"""Seconds to wait before a change is saved, so that several changes are saved together."""


class Appearance:
    """The appearance of one application.

    Applies the user's preferences at startup, and changes and saves them at run time.
    """

    def __init__(self, app: App[Any], preferences: Preferences) -> None:
        self._app = app
        self._preferences = preferences
        self._timer: Timer | None = None
        ui_state = preferences.ui_state
        self._hidden_first_steps = set(ui_state.hidden_first_steps) if ui_state is not None else set[str]()

    def apply_theme(self) -> None:
        """Register all themes and select the preferred one.

        Call this before the styles are parsed, so that they are parsed only once.
        """
        for theme in self._preferences.themes:
            self._app.register_theme(theme)
        self._app.theme = self._preferences.theme

    def apply_keymap(self, keymap_classes: Callable[[], tuple[type[DOMNode], ...]]) -> None:
        """Apply the keymap. Call this before the first screen is composed, because screens mention keys.

        ``keymap_classes`` returns the classes with key bindings. It is slow, and only called if the user has a keymap.
        """
        if self._preferences.settings.keymap:
            self._app.set_keymap(self._preferences.keymap(keymap_classes()))

    def apply(self) -> None:
        """Apply the other preferences, and notify the user of ignored settings. Call this before the first paint."""
        app, preferences = self._app, self._preferences
        app.no_color = preferences.is_colorless
        app.animation_level = preferences.settings.animations
        app.set_class(preferences.compact, COMPACT)
        if count := len(preferences.ignored):
            key = action_key(app, "app.ignored_settings")
            text = f"{count} of your settings ignored; press {key} to see which and why."
            app.notify(text, severity="warning", timeout=10, markup=False)

    @property
    def has_ignored_settings(self) -> bool:
        return bool(self._preferences.ignored)

    def ignored_settings_text(self) -> str:
        """Return a text with the error and hint for each ignored setting. It may contain untrusted text."""
        keys = action_keys(self._app)
        reports = ((error.message, app_hint(error, keys)) for error in self._preferences.ignored)
        return "\n\n".join(f"✗ {message}\n→ {hint}".removesuffix("\n→ ") for message, hint in reports)

    # ---- changes at run time

    def choose_theme(self, name: str | None) -> None:
        """Save the theme that the user has chosen; do nothing if ``name`` is None."""
        if name is not None:
            self._preferences.choose_theme(name)
            self._save_soon()

    def toggle_compact(self) -> bool:
        """Toggle compact mode, save the choice, and return whether the mode is now on."""
        compact = not self._app.has_class(COMPACT)
        self._app.set_class(compact, COMPACT)
        self._preferences.choose_compact(compact)
        self._save_soon()
        return compact

    def toggle_mouse(self) -> bool:
        """Toggle mouse input, and return whether it is now on.

        The choice is not saved: at the next start, the setting applies again.
        """
        driver = self._app._driver
        assert driver is not None, "the application is running"
        set_mouse_enabled(driver, not is_mouse_enabled(driver))
        return is_mouse_enabled(driver)

    # ---- saved state

    def remember_screen(self, name: str) -> None:
        if self._preferences.ui_state is not None:
            self._preferences.ui_state.set_screen(name)
            self._save_soon()

    def screen_state(self, name: str) -> ScreenState:
        return self._preferences.view(name)

    def remember_screen_state(self, name: str, state: ScreenState) -> None:
        if self._preferences.ui_state is not None:
            self._preferences.ui_state.set_screen_state(name, state)
            self._save_soon()

    def hides_first_steps(self, workspace_id: str) -> bool:
        return workspace_id in self._hidden_first_steps

    def toggle_first_steps(self, workspace_id: str) -> None:
        """Hide the first steps of the workspace, or show them again."""
        self._hidden_first_steps ^= {workspace_id}
        if self._preferences.ui_state is not None:
            self._preferences.ui_state.set_hidden_first_steps(sorted(self._hidden_first_steps))
            self._save_soon()

    async def save(self) -> None:
        """Write the UI state to its file. If this fails, only notify the user, because nothing depends on the file."""
        ui_state = self._preferences.ui_state
        if ui_state is None:
            return
        try:
            await asyncio.to_thread(ui_state.write)
        except SealyardError as error:
            self._app.notify(escape_text(str(error)), severity="warning", markup=False)

    def _save_soon(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self._app.set_timer(SAVE_DELAY, self.save)
