"""Lookup of the keys of actions in the current keymap, for texts that mention keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textual.app import App
from textual.binding import Binding

DEFAULT_KEYS: Mapping[str, str] = {
    "access.add_member": "m",
    "access.add_rule": "plus",
    "access.add_subject": "n",
    "access.disable": "d",
    "access.enable": "e",
    "access.next_section": "right",
    "access.notifications": "N",
    "access.remove": "x",
    "app.access": "6",
    "app.approvals": "3",
    "app.audit": "4",
    "app.dashboard": "1",
    "app.devices": "5",
    "app.force_quit": "ctrl+q",
    "app.ignored_settings": "exclamation_mark",
    "app.palette": "ctrl+p",
    "app.profile": "P",
    "app.quit": "q",
    "app.upload": "2",
    "approvals.all": "m",
    "approvals.approve": "A",
    "approvals.pager": "e",
    "approvals.reject": "x",
    "approvals.review_down": "full_stop",
    "approvals.review_up": "comma",
    "audit.form": "f",
    "audit.verify": "V",
    "audit_export.copy": "y",
    "audit_verify.go_to_entry": "enter",
    "browser.hidden": "full_stop",
    "columns.sort": "enter",
    "columns.toggle": "space",
    "dashboard.cancel": "x",
    "dashboard.download": "d",
    "dashboard.downloads": "L",
    "dashboard.first_steps": "H",
    "dashboard.new": "n",
    "dashboard.renew": "e",
    "dashboard.resubmit": "a",
    "dashboard.withdraw": "w",
    "devices.create": "n",
    "devices.import_certificate": "I",
    "devices.new_version": "e",
    "devices.newer": "right_square_bracket",
    "devices.older": "left_square_bracket",
    "devices.rotate": "R",
    "dialog.back": "escape",
    "dialog.done": "ctrl+s",
    "dialog.no": "n",
    "dialog.yes": "y",
    "downloads.again": "a",
    "downloads.renew": "e",
    "form.choose": "space",
    "form.next_choice": "right",
    "form.previous_choice": "left",
    "form.submit": "ctrl+s",
    "notifications.add": "n",
    "notifications.test": "t",
    "path.complete": "tab",
    "screen.back": "escape",
    "screen.filter": "slash",
    "search.mark": "space",
    "table.mark": "space",
    "table.open": "enter",
    "upload.add": "a",
    "upload.browse": "b",
    "upload.part": "m",
    "upload.show_task": "o",
    "upload.signing_input": "i",
    "upload.submit": "ctrl+s",
    "upload.watch": "w",
}
"""The first default key of each action that is mentioned in a text. The keymap can override it."""


def action_key(app: App[Any], action: str) -> str:
    """Return the first key of ``action``, formatted for display. :data:`DEFAULT_KEYS` must contain the action."""
    keys = app._keymap.get(action, DEFAULT_KEYS[action])
    return app.get_key_display(Binding(keys.partition(",")[0], ""))


def bound_keys(app: App[Any], action: str) -> frozenset[str]:
    """Return all keys of ``action``, as Textual names them. :data:`DEFAULT_KEYS` must contain the action."""
    return frozenset(app._keymap.get(action, DEFAULT_KEYS[action]).split(","))


def action_keys(app: App[Any]) -> Mapping[str, str]:
    """Return the first key of each action in :data:`DEFAULT_KEYS`, formatted for display, by action id."""
    return {action: action_key(app, action) for action in DEFAULT_KEYS}


def insert_keys(app: App[Any], text: str) -> str:
    """Replace each ``{key[<action>]}`` in ``text``, which must be trusted, with the key of that action."""
    return text.format(key=action_keys(app))
