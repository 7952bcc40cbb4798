"""What the application remembers by itself: the place that was last seen, what lists were narrowed to, the look.

It is kept in the state folder, apart from the settings. A look that was chosen while the application ran holds until
the setting it was chosen over is another: whoever edits the file sees what they wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from sealyard.client.config.state_file import StateFile, state_path
from sealyard.model.base import FrozenStruct


class ScreenState(FrozenStruct, frozen=True, kw_only=True):
    """How one place was left: its filter, and its order as that place writes it."""

    filter: str = ""
    sort: str = ""


class Override(FrozenStruct, frozen=True, kw_only=True):
    """``over``: what the setting was when ``value`` was chosen instead."""

    value: str
    replaces: str


class UiState(FrozenStruct, frozen=True, kw_only=True):
    screen: str = ""
    views: dict[str, ScreenState] = msgspec.field(default_factory=dict)
    choices: dict[str, Override] = msgspec.field(default_factory=dict)


Step = Callable[[UiState], UiState]


class UiStateFile:
    """One person's, shared by all their workspaces. What is told is at hand at once, and written by :meth:`write`."""

    def __init__(self, path: Path | None = None) -> None:
        """``path``: by default in the state folder. Raises :class:`StorageError` where it cannot be read."""
        self._file = StateFile(path or state_path("application", "memory"), UiState())
        self._now = self._file.read()
        self._steps: list[Step] = []

    @property
    def warning(self) -> str:
        """What a person should know: that a damaged file was set aside, and where. Else empty."""
        return self._file.warning

    @property
    def screen(self) -> str:
        """The place that was last seen; empty at the first start."""
        return self._now.screen

    def set_screen(self, screen: str) -> None:
        self._change(lambda was: msgspec.structs.replace(was, screen=screen))

    def view(self, place: str) -> ScreenState:
        return self._now.views.get(place, ScreenState())

    def set_screen_state(self, place: str, view: ScreenState) -> None:
        self._change(lambda was: msgspec.structs.replace(was, views={**was.views, place: view}))

    def get_override(self, name: str, setting: str) -> str:
        """What was chosen for the setting called ``name``, else the ``setting`` itself."""
        chosen = self._now.choices.get(name)
        return chosen.value if chosen is not None and chosen.replaces == setting else setting

    def set_override(self, name: str, value: str, over: str) -> None:
        choice = Override(value=value, replaces=over)
        self._change(lambda was: msgspec.structs.replace(was, choices={**was.choices, name: choice}))

    def write(self) -> None:
        """Writes what was told since; blocks for a moment. Raises :class:`StorageError`, and tries again next time."""
        steps = self._steps
        if not steps:
            return
        self._steps = []
        try:
            self._file.update(lambda was: _all(steps, was))
        except BaseException:
            self._steps = steps + self._steps
            raise

    def _change(self, step: Step) -> None:
        changed = step(self._now)
        if changed != self._now:
            self._now = changed
            self._steps.append(step)


def _all(steps: list[Step], was: UiState) -> UiState:
    for step in steps:
        was = step(was)
    return was
