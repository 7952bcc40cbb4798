"""The user's preferences: the settings, choices made at run time, and an error for each ignored setting."""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec
from textual.dom import DOMNode
from textual.theme import BUILTIN_THEMES, Theme

from sealyard.client.config.settings_loader import Settings, ignored_settings, no_color, settings_path
from sealyard.model.ascii_signs import uses_ascii_signs
from sealyard.model.errors import ErrorInfo, StorageError
from sealyard_tui.appearance.keymap import bindings_of, check_keymap
from sealyard_tui.appearance.themes import SEALYARD_THEMES, load_user_themes, select_theme
from sealyard_tui.appearance.ui_state import ScreenState, UiStateFile

THEMES_FOLDER = "themes"
"""Name of the themes directory, next to the settings file."""


class Preferences:
    """The settings combined with the choices that the user made at run time.

    ``ignored`` contains an error for each ignored setting; :meth:`keymap` adds the errors for entries of the keymap.
    """

    def __init__(
        self,
        settings: Settings,
        ui_state: UiStateFile | None = None,
        *,
        themes: tuple[Theme, ...] = (),
        ignored: tuple[ErrorInfo, ...] = (),
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Combine ``settings`` with the choices saved in ``ui_state``; if it is None, choices are not saved.

        ``themes``: the user's own themes. ``ignored``: the errors found when files were loaded. ``environ``: the
        environment variables.
        """
        self.settings = settings
        self.ui_state = ui_state
        self.themes = (*SEALYARD_THEMES, *themes)
        self._theme_names = (*(theme.name for theme in self.themes), *BUILTIN_THEMES)
        self.is_colorless = no_color(environ)
        self.uses_ascii = uses_ascii_signs(settings.symbols, environ)
        self.theme, theme_errors = select_theme(
            self._effective_value("theme", settings.theme), environ, self._theme_names
        )
        self.compact = self._effective_value("compact", _on_off(settings.compact)) == _on_off(True)
        self.ignored = (*ignored, *theme_errors)

    @property
    def theme_names(self) -> tuple[str, ...]:
        """All theme names: those of Sealyard and the user first, then Textual's."""
        return self._theme_names

    @property
    def first_screen(self) -> str:
        """Name of the screen to show first; empty if it is the last one used and none was saved."""
        screen = self.settings.start_screen
        return screen if screen != "last" else (self.ui_state.screen if self.ui_state is not None else "")

    def keymap(self, classes: tuple[type[DOMNode], ...]) -> dict[str, str]:
        """Return the keymap for ``App.set_keymap``, and add the errors in invalid entries to :attr:`ignored`."""
        keymap, errors = check_keymap(self.settings.keymap, bindings_of(classes))
        self.ignored = (*self.ignored, *errors)
        return keymap

    def choose_theme(self, name: str) -> None:
        self.theme = name
        self._override("theme", name, self.settings.theme)

    def choose_compact(self, compact: bool) -> None:
        self.compact = compact
        self._override("compact", _on_off(compact), _on_off(self.settings.compact))

    def view(self, screen: str) -> ScreenState:
        """Return the saved state of a screen.

        If the setting ``start_filter`` is set, it replaces the saved filter of the first screen.
        """
        state = self.ui_state.view(screen) if self.ui_state is not None else ScreenState()
        if screen == self.first_screen and self.settings.start_filter:
            return msgspec.structs.replace(state, filter=self.settings.start_filter)
        return state

    def _effective_value(self, name: str, setting: str) -> str:
        return self.ui_state.get_override(name, setting) if self.ui_state is not None else setting

    def _override(self, name: str, value: str, setting: str) -> None:
        if self.ui_state is not None:
            self.ui_state.set_override(name, value, setting)


def load_preferences(settings: Settings, environ: Mapping[str, str] = os.environ) -> Preferences:
    """Load the user's themes and saved UI state, and return the preferences.

    Unreadable files and unknown settings are reported in :attr:`Preferences.ignored`. Raises :class:`UsageError` if the
    settings file is invalid.
    """
    path = settings_path(environ)
    themes, ignored = load_user_themes(path.parent / THEMES_FOLDER)
    ignored = (*ignored_settings(path, environ), *ignored)
    ui_state: UiStateFile | None = None
    try:
        ui_state = UiStateFile()
        if ui_state.warning:
            ignored = (*ignored, ErrorInfo(code=StorageError.code, message=ui_state.warning))
    except StorageError as error:
        ignored = (*ignored, error.to_info())
    return Preferences(settings, ui_state, themes=themes, ignored=ignored, environ=environ)


def _on_off(enabled: bool) -> str:
    return "on" if enabled else "off"
