"""The actions that keys trigger on the current screen, for help and palette, after key map and permissions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen


@dataclass(frozen=True)
class ActiveAction:
    """An action with its ``keys`` as displayed. ``scope`` is the part of ``id`` before the dot, empty for Textual's
    own.
    """

    id: str
    scope: str
    description: str
    about: str
    keys: tuple[str, ...]
    enabled: bool
    action: str
    node: DOMNode


def active_actions(screen: Screen[Any]) -> tuple[ActiveAction, ...]:
    """Return the actions in the order of their declaration, from the focused widget outwards.

    Bindings without a description are skipped.
    """
    found: dict[tuple[str, str], ActiveAction] = {}
    for node, binding, enabled, tooltip in screen.active_bindings.values():
        if not binding.description or binding.system:
            continue
        name = (binding.id or "", binding.action)
        before = found[name].keys if name in found else ()
        found[name] = ActiveAction(
            id=binding.id or "",
            scope=(binding.id or "").partition(".")[0],
            description=binding.description,
            about=tooltip,
            keys=tuple(dict.fromkeys((*before, _shown_key(screen.app, binding)))),
            enabled=enabled,
            action=binding.action,
            node=node,
        )
    return tuple(found.values())


def _shown_key(app: App[Any], binding: Binding) -> str:
    return app.get_key_display(binding)
