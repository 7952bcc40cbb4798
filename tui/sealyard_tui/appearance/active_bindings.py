"""Lookup of the actions that are bound to keys on a screen, for the help dialog and the command palette."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen


@dataclass(frozen=True)
class ActiveAction:
    """An action that is bound to at least one key.

    ``id``: the id of the binding; ``scope``: the part of the id before the dot. Both are empty for Textual's own
    actions. ``keys``: the keys in the form displayed to the user. ``action``: the action string of the binding.
    ``node``: the widget, screen or application that performs the action.
    """

    id: str
    scope: str
    description: str
    tooltip: str
    keys: tuple[str, ...]
    enabled: bool
    action: str
    node: DOMNode


def active_actions(screen: Screen[Any]) -> tuple[ActiveAction, ...]:
    """Return the actions that are bound to keys on ``screen``, starting with those of the focused widget.

    Bindings without a description are skipped. Disabled actions are included.
    """
    actions: dict[tuple[str, str], ActiveAction] = {}
    for node, binding, enabled, tooltip in screen.active_bindings.values():
        if not binding.description or binding.system:
            continue
        identity = (binding.id or "", binding.action)
        other_keys = actions[identity].keys if identity in actions else ()
        actions[identity] = ActiveAction(
            id=binding.id or "",
            scope=(binding.id or "").partition(".")[0],
            description=binding.description,
            tooltip=tooltip,
            keys=tuple(dict.fromkeys((*other_keys, _key_label(screen.app, binding)))),
            enabled=enabled,
            action=binding.action,
            node=node,
        )
    return tuple(actions.values())


def _key_label(app: App[Any], binding: Binding) -> str:
    return app.get_key_display(binding)
