"""What a person set up and chose, laid out for the application: themes, look, keys; and what of it was left out."""

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
"""Beside the settings file."""


class Preferences:
    """Settings, under what was chosen at run time. ``ignored``: what was left out, and why; it grows with the keys."""

    def __init__(
        self,
        settings: Settings,
        memory: UiStateFile | None = None,
        *,
        themes: tuple[Theme, ...] = (),
        ignored: tuple[ErrorInfo, ...] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """``themes``: a person's own. Without ``memory`` nothing is remembered beyond this run."""
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
        """Ours and the person's first, then Textual's."""
        return self._names

    @property
    def first_screen(self) -> str:
        """Empty where the last one is wanted and none was seen."""
        screen = self.settings.start_screen
        return screen if screen != "last" else (self.memory.screen if self.memory is not None else "")

    def keymap(self, classes: tuple[type[DOMNode], ...]) -> dict[str, str]:
        """For ``App.set_keymap``; what is wrong with the person's keys is added to the ignored."""
        keymap, ignored = check_keymap(self.settings.keymap, bindings_of(classes))
        self.ignored = (*self.ignored, *ignored)
        return keymap

    def choose_theme(self, name: str) -> None:
        self.theme = name
        self._choose("theme", name, self.settings.theme)

    def choose_compact(self, compact: bool) -> None:
        self.compact = compact
        self._choose("compact", _on_off(compact), _on_off(self.settings.compact))

    def view(self, place: str) -> ScreenState:
        """How the place was left. The first screen begins with the settings' filter, where there is one."""
        if place == self.first_screen and self.settings.start_filter:
            return ScreenState(filter=self.settings.start_filter)
        return self.memory.view(place) if self.memory is not None else ScreenState()

    def _chosen(self, name: str, setting: str) -> str:
        return self.memory.get_override(name, setting) if self.memory is not None else setting

    def _choose(self, name: str, value: str, setting: str) -> None:
        if self.memory is not None:
            self.memory.set_override(name, value, setting)


def load_preferences(settings: Settings, environ: Mapping[str, str] = os.environ) -> Preferences:
    """With the person's themes and memory. What of these cannot be read is among the ignored."""
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
