"""A person's own keys: what cannot work is told and left out; what was there stays in force.

Each binding has an id ``<place>.<action>``: ``dashboard.download``. The places ``app``, ``place`` and ``table`` are
part of every other one, so that their keys are taken there too. Textual itself would take unknown ids and impossible
keys without a word, and would silence an action whose key another one gets.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from textual.binding import Binding, InvalidBinding
from textual.dom import DOMNode
from textual.keys import KEY_ALIASES, REPLACED_KEYS, Keys, key_to_character

from sealyard.model.errors import ErrorInfo, UsageError
from sealyard.model.safe_text import escape_text

QUIT = "app.quit"
QUIT_KEY = "ctrl+q"
GLOBAL_SCOPES = ("app", "place", "table")
MODAL = ("dialog", "help")
"""Over the places: the keys of ``app`` and ``place`` do nothing there."""

NAVIGATION_ACTIONS = ("h", "j", "k", "l", "g", "G", "ctrl+d", "ctrl+u")
GUARDED_ACTIONS = frozenset(
    {"approve", "reject", "withdraw", "cancel", "delete", "remove", "rotate", "export_key", "leave", "quit"}
)
"""Actions that are never on a motion: a hand that moves about must not decide anything."""

_MODIFIERS = ("ctrl", "alt", "shift", "super", "hyper", "meta")
_UNSENDABLE_KEYS = ("return", "ctrl-at", "ctrl+@")
_NAMED = frozenset(
    name
    for key in Keys
    if key not in _UNSENDABLE_KEYS and len(name := key.value.rpartition("+")[2]) > 1 and name[0] != "<"
)
_SAME = {alias: key for key, aliases in KEY_ALIASES.items() for alias in aliases}
"""Keys that reach us as another one: ctrl+i is tab."""

_SHOWN = 60

KeysOf = Mapping[str, tuple[str, ...]]
"""The keys of each action, as Textual names them."""


def bindings_of(classes: Iterable[type[DOMNode]]) -> dict[str, tuple[str, ...]]:
    """The actions of these classes and what they inherit, with all their keys; bindings without an id are left out."""
    found: dict[str, dict[str, None]] = {}
    for cls in dict.fromkeys(base for each in classes for base in each.__mro__):
        for binding in Binding.make_bindings(vars(cls).get("BINDINGS", ())):
            if binding.id is not None:
                found.setdefault(binding.id, {})[binding.key] = None
    return {action: tuple(keys) for action, keys in found.items()}


def check_keymap(wanted: Mapping[str, str], bindings: KeysOf) -> tuple[dict[str, str], tuple[ErrorInfo, ...]]:
    """What to give to ``App.set_keymap``, and what is wrong with the rest.

    ``wanted``: comma separated keys by action; ``bindings``: as of :func:`bindings_of`. The quit action keeps ctrl+q.
    """
    accepted: dict[str, tuple[str, ...]] = {}
    reports: list[ErrorInfo] = []
    for action, text in wanted.items():
        try:
            accepted[action] = _parse_entry(action, text, bindings)
        except UsageError as error:
            reports.append(error.to_info())
    while clash := _first_conflict(accepted, bindings):
        loser, other, key = clash
        reports.append(_conflict_error(loser, other, key, bindings))
        del accepted[loser]
    return {action: ",".join(keys) for action, keys in accepted.items()}, tuple(reports)


def _parse_entry(action: str, text: str, bindings: KeysOf) -> tuple[str, ...]:
    if action not in bindings:
        near = difflib.get_close_matches(action[:_SHOWN], bindings, n=1)
        advice = f"Did you mean {near[0]}?" if near else "`?` names the actions of each place."
        raise UsageError(f"Keys: there is no action {escape_text(action, _SHOWN)}.", advice)
    keys = _parsed(action, text, bindings)
    if action == QUIT:
        return tuple(dict.fromkeys((*keys, QUIT_KEY)))
    if QUIT_KEY in keys:
        raise _refusal(action, f"{QUIT_KEY} always quits", bindings)
    return keys


def _parsed(action: str, text: str, bindings: KeysOf) -> tuple[str, ...]:
    try:
        keys = tuple(dict.fromkeys(each.key for each in Binding.make_bindings([Binding(text, "")])))
    except InvalidBinding:
        raise _refusal(action, f"'{escape_text(text, _SHOWN)}' names no key", bindings) from None
    for key in keys:
        if not _can_be_pressed(key):
            raise _refusal(action, f"there is no key '{escape_text(key, _SHOWN)}'{_hint(key)}", bindings)
        if action.rpartition(".")[2] in GUARDED_ACTIONS and key in NAVIGATION_ACTIONS:
            raise _refusal(action, f"{key} moves about, and this is not for a slip of the hand", bindings)
    return keys


def _can_be_pressed(key: str) -> bool:
    *modifiers, name = key.split("+")
    if len(set(modifiers)) < len(modifiers) or not set(modifiers) <= set(_MODIFIERS):
        return False
    if name in _NAMED:
        return True
    if modifiers == ["shift"] or (modifiers and name != name.lower()):
        return False
    return _is_character(name)


def _is_character(name: str) -> bool:
    """One that Textual would call by this name."""
    char = key_to_character(REPLACED_KEYS.get(name, name))
    if char is None or not char.isprintable() or char == ",":
        return name == "comma"
    return [each.key for each in Binding.make_bindings([Binding(char, "")])] == [name]


def _hint(key: str) -> str:
    *modifiers, name = key.split("+")
    if modifiers == ["shift"] and len(name) == 1:
        return f"; write {name.upper()}"
    if modifiers and len(name) == 1 and name.isupper():
        return f"; write {'+'.join([*modifiers, name.lower()])}"
    return ""


def _first_conflict(accepted: KeysOf, bindings: KeysOf) -> tuple[str, str, str] | None:
    """The wish that has to give way, the action in its way, and the key. Of two wishes the later one gives way."""
    now = {**bindings, **accepted}
    for action in reversed(tuple(accepted)):
        for other in bindings:
            if other == action or not _overlap(action, other):
                continue
            before = _pressed(bindings[action]) & _pressed(bindings[other])
            shared = (_pressed(now[action]) & _pressed(now[other])) - before
            if shared:
                return action, other, min(shared)
    return None


def _pressed(keys: Iterable[str]) -> set[str]:
    return {_SAME.get(key, key) for key in keys}


def _overlap(one: str, other: str) -> bool:
    places = {one.partition(".")[0], other.partition(".")[0]}
    if len(places) == 1:
        return True
    if not places.isdisjoint(MODAL):
        return "table" in places
    return not places.isdisjoint(GLOBAL_SCOPES)


def _conflict_error(action: str, other: str, key: str, bindings: KeysOf) -> ErrorInfo:
    return _refusal(action, f"{key} is the key of {other}", bindings).to_info()


def _refusal(action: str, why: str, bindings: KeysOf) -> UsageError:
    return UsageError(f"Keys: {action} stays on {', '.join(bindings[action])}: {why}.", "Choose another key.")
