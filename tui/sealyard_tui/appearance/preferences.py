"""The user's preferences: settings combined with what was chosen at run time, and the settings that are ignored."""

from __future__ import annotations

import os
from collections.abc import Mapping

from textual.dom import DOMNode
from textual.theme import BUILTIN_THEMES, Theme

from sealyard.client.config.settings_loader import Settings, no_color, settings_path
from sealyard.model.errors import ErrorInfo, StorageError
from sealyard_tui.appearance.keymap import bindings_of, check_keymap
from sealyard_tui.appearance.themes import SEALYARD_THEMES, load_user_themes, select_theme
from sealyard_tui.appearance.ui_state import ScreenState, UiStateFile

THEMES_FOLDER = "themes"
"""Directory beside the settings file."""


class Preferences:
    """Settings, overridden by what was chosen at run time. ``ignored`` reports invalid settings; :meth:`keymap` adds to
    it.
    """

    def __init__(
        self,
        settings: Settings,
        memory: UiStateFile | None = None,
        *,
        themes: tuple[Theme, ...] = (),
        ignored: tuple[ErrorInfo, ...] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """``themes`` are the user's own. Without ``memory`` nothing is saved."""
        self.settings = settings
        self.memory = memory
        self.themes = (*SEALYARD_THEMES, *themes)
        self._names = (*(each.name for each in self.themes), *BUILTIN_THEMES)
        self.colourless = no_color(environ)
        self.theme, unknown = select_theme(self._chosen("theme", settings.theme), environ, self._names)
        self.compact = self._chosen("compact", _on_off(settings.compact)) == _on_off(True)
        self.ignored = (*ignored, *unknown)

    @property
    def theme_names(self) -> tuple[str, ...]:
        """All theme names: those of Sealyard and the user first, then Textual's."""
        return self._names

    @property
    def first_screen(self) -> str:
        """The first screen; empty if the last one is wanted and none was saved."""
        screen = self.settings.start_screen
        return screen if screen != "last" else (self.memory.screen if self.memory is not None else "")

    def keymap(self, classes: tuple[type[DOMNode], ...]) -> dict[str, str]:
        """Return the key map for ``App.set_keymap``; invalid entries are added to :attr:`ignored`."""
        keymap, ignored = check_keymap(self.settings.keymap, bindings_of(classes))
        self.ignored = (*self.ignored, *ignored)
        return keymap

    def choose_theme(self, name: str) -> None:
        self.theme = name
        self._choose("theme", name, self.settings.theme)

    def choose_compact(self, compact: bool) -> None:
        self.compact = compact
        self._choose("compact", _on_off(compact), _on_off(self.settings.compact))

    def view(self, screen: str) -> ScreenState:
        """Return the saved state of a screen. The first screen starts with the filter of the settings, if any."""
        if screen == self.first_screen and self.settings.start_filter:
            return ScreenState(filter=self.settings.start_filter)
        return self.memory.view(screen) if self.memory is not None else ScreenState()

    def _chosen(self, name: str, setting: str) -> str:
        return self.memory.get_override(name, setting) if self.memory is not None else setting

    def _choose(self, name: str, value: str, setting: str) -> None:
        if self.memory is not None:
            self.memory.set_override(name, value, setting)


def load_preferences(settings: Settings, environ: Mapping[str, str] = os.environ) -> Preferences:
    """Load the user's themes and saved state. What cannot be read is reported in :attr:`Preferences.ignored`."""
    themes, ignored = load_user_themes(settings_path(environ).parent / THEMES_FOLDER)
    memory: UiStateFile | None = None
    try:
        memory = UiStateFile()
        if memory.warning:
            ignored = (*ignored, ErrorInfo(code=StorageError.code, message=memory.warning))
    except StorageError as error:
        ignored = (*ignored, error.to_info())
    return Preferences(settings, memory, themes=themes, ignored=ignored, environ=environ)


def _on_off(on: bool) -> str:
    return "on" if on else "off"
