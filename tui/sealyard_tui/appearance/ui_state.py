"""The saved state of the user interface: the last screen, the filter and order of each, and overridden settings.

It is stored in the state directory, apart from the settings. An override applies until the setting that it replaces is
changed: users who edit the settings file get what they wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from sealyard.client.config.state_file import StateFile, state_path
from sealyard.model.base import FrozenStruct


class ScreenState(FrozenStruct, frozen=True, kw_only=True):
    """The filter of one screen, and its order as that screen names it."""

    filter: str = ""
    sort: str = ""


class Override(FrozenStruct, frozen=True, kw_only=True):
    """A value chosen at run time. ``replaces`` is the setting at that time."""

    value: str
    replaces: str


class UiState(FrozenStruct, frozen=True, kw_only=True):
    """The stored content."""

    screen: str = ""
    views: dict[str, ScreenState] = msgspec.field(default_factory=dict)
    choices: dict[str, Override] = msgspec.field(default_factory=dict)


Step = Callable[[UiState], UiState]


class UiStateFile:
    """The state of one user, shared by all workspaces. Changes apply at once and are stored by :meth:`write`."""

    def __init__(self, path: Path | None = None) -> None:
        """``path`` is by default in the state directory. Raises :class:`StorageError` if it cannot be read."""
        self._file = StateFile(path or state_path("application", "memory"), UiState())
        self._state = self._file.read()
        self._steps: list[Step] = []

    @property
    def warning(self) -> str:
        """A warning if a damaged file was renamed, else empty."""
        return self._file.warning

    @property
    def screen(self) -> str:
        """The last screen; empty at the first start."""
        return self._state.screen

    def set_screen(self, screen: str) -> None:
        self._apply(lambda was: msgspec.structs.replace(was, screen=screen))

    def view(self, screen: str) -> ScreenState:
        return self._state.views.get(screen, ScreenState())

    def set_screen_state(self, screen: str, view: ScreenState) -> None:
        self._apply(lambda was: msgspec.structs.replace(was, views={**was.views, screen: view}))

    def get_override(self, name: str, setting: str) -> str:
        """Return the override of the setting ``name``, else ``setting`` itself."""
        chosen = self._state.choices.get(name)
        return chosen.value if chosen is not None and chosen.replaces == setting else setting

    def set_override(self, name: str, value: str, over: str) -> None:
        choice = Override(value=value, replaces=over)
        self._apply(lambda was: msgspec.structs.replace(was, choices={**was.choices, name: choice}))

    def write(self) -> None:
        """Store all changes since the last call; blocks. Raises :class:`StorageError`; the changes are then kept for
        the next call.
        """
        steps = self._steps
        if not steps:
            return
        self._steps = []
        try:
            self._file.update(lambda was: _apply_steps(steps, was))
        except BaseException:
            self._steps = steps + self._steps
            raise

    def _apply(self, step: Step) -> None:
        changed = step(self._state)
        if changed != self._state:
            self._state = changed
            self._steps.append(step)


def _apply_steps(steps: list[Step], was: UiState) -> UiState:
    for step in steps:
        was = step(was)
    return was
