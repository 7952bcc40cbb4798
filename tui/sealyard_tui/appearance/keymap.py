"""Validation of the user's keymap: invalid entries are reported and ignored, and their actions keep the default keys.

Each binding has an id ``<scope>.<action>``, such as ``dashboard.download``. The scopes ``app``, ``screen`` and
``table`` are active on every screen, so their keys conflict with those of all screens. Textual itself accepts unknown
ids and impossible keys silently, and disables an action whose key is assigned to another action.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from textual.binding import Binding, InvalidBinding
from textual.dom import DOMNode
from textual.keys import KEY_ALIASES, REPLACED_KEYS, Keys, key_to_character

from sealyard.model.errors import ErrorInfo, UsageError
from sealyard.model.safe_text import escape_text

FORCE_QUIT = "app.force_quit"
FORCE_QUIT_KEY = "ctrl+q"
GLOBAL_SCOPES = ("app", "screen", "table")
MODAL_SCOPES = ("dialog", "help")
"""Dialog scopes, in which the keys of ``app`` and ``screen`` are inactive."""

NAVIGATION_KEYS = ("h", "j", "k", "l", "g", "G", "ctrl+d", "ctrl+u")
GUARDED_ACTIONS = frozenset(
    {
        "approve",
        "reject",
        "withdraw",
        "cancel",
        "delete",
        "disable",
        "remove",
        "rotate",
        "export_key",
        "quit",
        "force_quit",
    }
)
"""Actions that cannot be bound to a navigation key, so that navigating never triggers them."""

_MODIFIERS = ("ctrl", "alt", "shift", "super", "hyper", "meta")
_UNSENDABLE_KEYS = ("return", "ctrl-at", "ctrl+@")
_NAMED_KEYS = frozenset(
    name
    for key in Keys
    if key not in _UNSENDABLE_KEYS and len(name := key.value.rpartition("+")[2]) > 1 and name[0] != "<"
)
_KEY_ALIASES = {alias: key for key, aliases in KEY_ALIASES.items() for alias in aliases}
"""The key that terminals send for each alias, for example ``tab`` for ``ctrl+i``."""

_QUOTED_LENGTH = 60
"""Maximum length of an invalid entry when it is quoted in an error."""

Bindings = Mapping[str, tuple[str, ...]]
"""The bound keys by action id. Keys have the names that Textual uses."""


def bindings_of(classes: Iterable[type[DOMNode]]) -> dict[str, tuple[str, ...]]:
    """Return the keys bound in ``classes`` and their base classes, by action id. Bindings without an id are skipped."""
    keys_by_action: dict[str, dict[str, None]] = {}
    for cls in dict.fromkeys(base for widget_class in classes for base in widget_class.__mro__):
        for binding in Binding.make_bindings(vars(cls).get("BINDINGS", ())):
            if binding.id is not None:
                keys_by_action.setdefault(binding.id, {})[binding.key] = None
    return {action: tuple(keys) for action, keys in keys_by_action.items()}


def check_keymap(entries: Mapping[str, str], bindings: Bindings) -> tuple[dict[str, str], tuple[ErrorInfo, ...]]:
    """Return the keymap for ``App.set_keymap``, and an error for each ignored entry.

    ``entries``: the user's keymap, with comma-separated keys by action id. ``bindings``: the default keys, from
    :func:`bindings_of`. The action :data:`FORCE_QUIT` always keeps the key :data:`FORCE_QUIT_KEY`.
    """
    keymap: dict[str, tuple[str, ...]] = {}
    errors: list[ErrorInfo] = []
    for action, text in entries.items():
        try:
            keymap[action] = _parse_entry(action, text, bindings)
        except UsageError as error:
            errors.append(error.to_info())
    while conflict := _first_conflict(keymap, bindings):
        action, other_action, key = conflict
        errors.append(_conflict_error(action, other_action, key, bindings))
        del keymap[action]
    return {action: ",".join(keys) for action, keys in keymap.items()}, tuple(errors)


def _parse_entry(action: str, text: str, bindings: Bindings) -> tuple[str, ...]:
    if action not in bindings:
        matches = difflib.get_close_matches(action[:_QUOTED_LENGTH], bindings, n=1)
        hint = f"Did you mean {matches[0]}?" if matches else "The help of each screen lists its actions."
        raise UsageError(f"Key binding ignored: unknown action {escape_text(action, _QUOTED_LENGTH)}.", hint)
    keys = _parse_keys(action, text, bindings)
    if action == FORCE_QUIT:
        return tuple(dict.fromkeys((*keys, FORCE_QUIT_KEY)))
    if FORCE_QUIT_KEY in keys:
        raise _rejection(action, f"{FORCE_QUIT_KEY} always quits", bindings)
    return keys


def _parse_keys(action: str, text: str, bindings: Bindings) -> tuple[str, ...]:
    try:
        keys = tuple(dict.fromkeys(binding.key for binding in Binding.make_bindings([Binding(text, "")])))
    except InvalidBinding:
        raise _rejection(action, f"'{escape_text(text, _QUOTED_LENGTH)}' is not a key", bindings) from None
    for key in keys:
        if not _can_be_pressed(key):
            raise _rejection(action, f"unknown key '{escape_text(key, _QUOTED_LENGTH)}'{_spelling_hint(key)}", bindings)
        if action.rpartition(".")[2] in GUARDED_ACTIONS and key in NAVIGATION_KEYS:
            raise _rejection(action, f"{key} is a navigation key and cannot be bound to a destructive action", bindings)
    return keys


def _can_be_pressed(key: str) -> bool:
    *modifiers, name = key.split("+")
    if len(set(modifiers)) < len(modifiers) or not set(modifiers) <= set(_MODIFIERS):
        return False
    if name in _NAMED_KEYS:
        return True
    if modifiers == ["shift"] or (modifiers and name != name.lower()):
        return False
    return _is_character(name)


def _is_character(name: str) -> bool:
    """Return whether ``name`` is Textual's name for the key of a printable character."""
    char = key_to_character(REPLACED_KEYS.get(name, name))
    if char is None or not char.isprintable() or char == ",":
        return name == "comma"
    return [binding.key for binding in Binding.make_bindings([Binding(char, "")])] == [name]


def _spelling_hint(key: str) -> str:
    *modifiers, name = key.split("+")
    if modifiers == ["shift"] and len(name) == 1:
        return f"; use {name.upper()}"
    if modifiers and len(name) == 1 and name.isupper():
        return f"; write {'+'.join([*modifiers, name.lower()])}"
    return ""


def _first_conflict(keymap: Bindings, bindings: Bindings) -> tuple[str, str, str] | None:
    """Return the action whose entry must be ignored, the action that it conflicts with, and the key.

    Of two conflicting entries, the later one is ignored. Returns None if there is no conflict.
    """
    effective = {**bindings, **keymap}
    for action in reversed(tuple(keymap)):
        for other in bindings:
            if other == action or not _are_active_together(action, other):
                continue
            default_overlap = _normalize(bindings[action]) & _normalize(bindings[other])
            conflicts = (_normalize(effective[action]) & _normalize(effective[other])) - default_overlap
            if conflicts:
                return action, other, min(conflicts)
    return None


def _normalize(keys: Iterable[str]) -> set[str]:
    return {_KEY_ALIASES.get(key, key) for key in keys}


def _are_active_together(action: str, other: str) -> bool:
    scopes = {action.partition(".")[0], other.partition(".")[0]}
    if len(scopes) == 1:
        return True
    if not scopes.isdisjoint(MODAL_SCOPES):
        return "table" in scopes
    return not scopes.isdisjoint(GLOBAL_SCOPES)


def _conflict_error(action: str, other: str, key: str, bindings: Bindings) -> ErrorInfo:
    return _rejection(action, f"{key} is already bound to {other}", bindings).to_info()


def _rejection(action: str, reason: str, bindings: Bindings) -> UsageError:
    return UsageError(
        f"Key binding ignored: {action} stays on {', '.join(bindings[action])} ({reason}).", "Choose another key."
    )
