"""How the application looks and listens: theme, air, motion, mouse and keys, as set up and as changed while it runs."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

from textual.app import App
from textual.dom import DOMNode
from textual.filter import Monochrome, NoColor
from textual.timer import Timer

from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_text
from sealyard_tui import dialogs, screens, widgets
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.appearance.ui_state import ScreenState
from sealyard_tui.dialogs.base import TextDialog
from sealyard_tui.dialogs.theme_picker import ThemePicker
from sealyard_tui.terminal.mouse import is_mouse_enabled, set_mouse_enabled

COMPACT = "-compact"
"""The class of the application in compact mode."""

SAVE_DELAY = 1.0
"""Between a choice and the disk; what comes meanwhile is written with it."""


class Appearance:
    """Of one application."""

    def __init__(self, app: App[Any], preferences: Preferences) -> None:
        self._app = app
        self._preferences = preferences
        self._timer: Timer | None = None

    def apply_theme(self) -> None:
        """Before any style is parsed: it is parsed once then."""
        for theme in self._preferences.themes:
            self._app.register_theme(theme)
        self._app.theme = self._preferences.theme

    def apply(self) -> None:
        """At the start, before the first paint."""
        app, preferences = self._app, self._preferences
        self._set_color_filters()
        app.animation_level = preferences.settings.animations
        app.set_class(preferences.compact, COMPACT)
        if preferences.settings.keymap:
            app.set_keymap(preferences.keymap(application_classes()))
        if count := len(preferences.ignored):
            text = f"{count} of your settings left out; ! tells which and why."
            app.notify(text, severity="warning", timeout=10, markup=False)

    def _set_color_filters(self) -> None:
        """Textual chose by the theme it began with: shades of grey, and with the terminal's palette black on black."""
        app, colourless = self._app, self._preferences.colourless
        others = [each for each in app._filters if not isinstance(each, Monochrome | NoColor)]
        app._filters = [*others, NoColor()] if colourless else others
        app.no_color = colourless

    @property
    def has_ignored_settings(self) -> bool:
        return bool(self._preferences.ignored)

    def show_ignored_settings(self) -> None:
        told = (f"✗ {each.message}\n→ {each.hint}".removesuffix("\n→ ") for each in self._preferences.ignored)
        self._app.clear_notifications()
        self._app.push_screen(TextDialog("Settings that were left out", "\n\n".join(told)))

    # ---- what is changed while it runs

    def pick_theme(self) -> None:
        def chosen(name: str | None) -> None:
            if name is not None:
                self._preferences.choose_theme(name)
                self._remember_soon()

        self._app.push_screen(ThemePicker(self._preferences.theme_names, self._app.theme), chosen)

    def toggle_compact(self) -> bool:
        """Whether it is compact now."""
        compact = not self._app.has_class(COMPACT)
        self._app.set_class(compact, COMPACT)
        self._preferences.choose_compact(compact)
        self._remember_soon()
        return compact

    def toggle_mouse(self) -> bool:
        """Whether the application has the mouse now. It is not remembered: the next start begins as set up."""
        driver = self._app._driver
        assert driver is not None, "the application runs"
        set_mouse_enabled(driver, not is_mouse_enabled(driver))
        return is_mouse_enabled(driver)

    # ---- what is remembered

    def remember_screen(self, place: str) -> None:
        if self._preferences.memory is not None:
            self._preferences.memory.set_screen(place)
            self._remember_soon()

    def screen_state(self, place: str) -> ScreenState:
        return self._preferences.view(place)

    def remember_screen_state(self, place: str, view: ScreenState) -> None:
        if self._preferences.memory is not None:
            self._preferences.memory.set_screen_state(place, view)
            self._remember_soon()

    async def save(self) -> None:
        """Writes what is to be remembered. What cannot be written is told; nothing else depends on it."""
        memory = self._preferences.memory
        if memory is None:
            return
        try:
            await asyncio.to_thread(memory.write)
        except SealyardError as error:
            self._app.notify(escape_text(str(error)), severity="warning", markup=False)

    def _remember_soon(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self._app.set_timer(SAVE_DELAY, self.save)


def application_classes() -> tuple[type[DOMNode], ...]:
    """All of ours that may have keys: the application, its screens and its widgets."""
    for package in (dialogs, screens, widgets):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    return tuple(each for each in _all_subclasses(DOMNode) if each.__module__.startswith("sealyard_tui."))


def _all_subclasses(base: type[DOMNode]) -> Iterator[type[DOMNode]]:
    for each in base.__subclasses__():
        yield each
        yield from _all_subclasses(each)
