"""The saved UI state: the last screen, the filter and sort order of each screen, and overridden settings.

It is stored in the state directory, not in the settings file. An override applies until the setting that it replaces is
changed, so that editing the settings file always takes effect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from sealyard.client.config.state_file import StateFile, state_path
from sealyard.model.base import FrozenStruct


class ScreenState(FrozenStruct, frozen=True, kw_only=True):
    """Filter, sort order and scope of one screen, each as text in a format that the screen defines.

    ``scope``: which part of the data is listed. ``hidden_columns``: keys of the columns that the user has hidden.
    ``filters``: the filters that the user has saved, by name.
    """

    filter: str = ""
    sort: str = ""
    scope: str = ""
    hidden_columns: tuple[str, ...] = ()
    filters: dict[str, str] = msgspec.field(default_factory=dict)


class Override(FrozenStruct, frozen=True, kw_only=True):
    """A value chosen at run time in place of a setting. ``replaces``: the value of the setting at that time."""

    value: str
    replaces: str


class UiState(FrozenStruct, frozen=True, kw_only=True):
    """The saved UI state: the last screen, screen states by screen name, and overrides by setting name.

    ``hidden_first_steps``: ids of the workspaces whose first steps are hidden.
    """

    screen: str = ""
    hidden_first_steps: tuple[str, ...] = ()
    views: dict[str, ScreenState] = msgspec.field(default_factory=dict)
    choices: dict[str, Override] = msgspec.field(default_factory=dict)


Change = Callable[[UiState], UiState]


class UiStateFile:
    """The UI state of one user, for all workspaces. Changes apply immediately and are saved by :meth:`write`."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file ``path``, by default in the state directory.

        Raises :class:`StorageError` if it cannot be read.
        """
        self._file = StateFile(path or state_path("application", "memory"), UiState())
        self._state = self._file.read()
        self._changes: list[Change] = []

    @property
    def warning(self) -> str:
        """A warning if a damaged file was renamed; otherwise empty."""
        return self._file.warning

    @property
    def screen(self) -> str:
        """The last screen used; empty at the first start."""
        return self._state.screen

    def set_screen(self, screen: str) -> None:
        self._apply(lambda state: msgspec.structs.replace(state, screen=screen))

    def view(self, screen: str) -> ScreenState:
        return self._state.views.get(screen, ScreenState())

    def set_screen_state(self, screen: str, view: ScreenState) -> None:
        self._apply(lambda state: msgspec.structs.replace(state, views={**state.views, screen: view}))

    @property
    def hidden_first_steps(self) -> tuple[str, ...]:
        """Ids of the workspaces whose first steps are hidden."""
        return self._state.hidden_first_steps

    def set_hidden_first_steps(self, workspace_ids: Iterable[str]) -> None:
        ids = tuple(workspace_ids)
        self._apply(lambda state: msgspec.structs.replace(state, hidden_first_steps=ids))

    def get_override(self, name: str, setting: str) -> str:
        """Return the override of the setting ``name`` if one applies, otherwise ``setting``.

        ``setting``: the current value of the setting.
        """
        override = self._state.choices.get(name)
        return override.value if override is not None and override.replaces == setting else setting

    def set_override(self, name: str, value: str, replaces: str) -> None:
        override = Override(value=value, replaces=replaces)
        self._apply(lambda state: msgspec.structs.replace(state, choices={**state.choices, name: override}))

    def write(self) -> None:
        """Save all changes made since the last call. This blocks the calling thread.

        Raises :class:`StorageError` if the file cannot be written; the next call then saves the changes.
        """
        changes = self._changes
        if not changes:
            return
        self._changes = []
        try:
            self._file.update(lambda state: _apply_changes(changes, state))
        except BaseException:
            self._changes = changes + self._changes
            raise

    def _apply(self, change: Change) -> None:
        state = change(self._state)
        if state != self._state:
            self._state = state
            self._changes.append(change)


def _apply_changes(changes: list[Change], state: UiState) -> UiState:
    for change in changes:
        state = change(state)
    return state
