"""Form for editing the filter of the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.suggester import SuggestFromList
from textual.widgets import Button, Input, Label, Static

from sealyard.model.audit import AuditAction
from sealyard.model.errors import UsageError
from sealyard_tui.dialogs.base import BaseDialog
from sealyard_tui.screens.audit.filter_syntax import FIELDS, TEXT, format_filter, parse_filter, split_filter
from sealyard_tui.widgets.safe_input import SafeInput

RESOURCE_TYPES = ("TASK", "DEVICE_CONFIG", "KEY", "SUBJECT", "ACL", "POLICY", "AUDIT_LOG", "WORKSPACE")
"""Suggested resource types; the log may contain others."""

HINTS = {
    TEXT: "anywhere in an entry",
    "type": "TASK, DEVICE_CONFIG, KEY, SUBJECT, ACL …",
    "resource": "full id: TASK:ab12…",
    "author": "owner, GROUP:owners, SYSTEM:engine",
    "change": "APPROVED, REFUSED, KEY_USED …",
    "since": "2h, 3d, 2026-11-01, 2026-11-01T18:30",
    "until": "exclusive; in the format of since",
}


class AuditFilterDialog(BaseDialog[str | None]):
    """Dialog for editing a filter. Returns the filter as text, or None if the user cancelled the dialog."""

    heading = "Filter entries"
    CSS_PATH = "dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "apply", "Apply", id="audit_form.done", priority=True),
        Binding("ctrl+r", "clear", "Clear", id="audit_form.empty", priority=True),
        Binding("down", "app.focus_next", "Next field", show=False, id="audit_form.next"),
        Binding("up", "app.focus_previous", "Previous field", show=False, id="audit_form.previous"),
    ]

    drafts: ClassVar[dict[str, dict[str, str]]] = {}
    """Unapplied input: the values of the fields, keyed by the initial filter."""

    def __init__(self, filter_text: str, now: Callable[[], datetime]) -> None:
        """Create the dialog. ``filter_text``: the current filter; an invalid one is used as the text to search for."""
        super().__init__()
        self._now = now
        self._initial_text = filter_text
        try:
            self._parts = self.drafts.get(filter_text) or split_filter(filter_text)
        except UsageError:
            self._parts = {TEXT: filter_text}

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(classes="fields"):
            for name in (TEXT, *FIELDS):
                with Horizontal(classes="field"):
                    yield Label(name)
                    yield SafeInput(
                        self._parts.get(name, ""),
                        id=name,
                        placeholder=HINTS[name],
                        suggester=_create_suggester(name),
                        compact=True,
                    )
        yield Static("", classes="wrong", markup=False)
        with Horizontal(classes="buttons"):
            yield Button(Content("Apply"), id="done", variant="primary", compact=True)
            yield Button(Content("Back"), id="back", compact=True)

    def on_mount(self) -> None:
        self.set_focus(self.query_one(f"#{TEXT}"))

    @on(Input.Changed)
    def _on_input_changed(self) -> None:
        self.drafts[self._initial_text] = self._read_parts()
        error_message = self._validate()
        self.query_one(".wrong", Static).update(Content(f"✗ {error_message}" if error_message else ""))

    @on(Button.Pressed)
    def _on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "done":
            self.action_apply()
        else:
            self.dismiss(None)

    @on(Input.Submitted)
    def action_apply(self) -> None:
        if not self._validate():
            self.drafts.pop(self._initial_text, None)
            self.dismiss(self._read_filter())

    def action_clear(self) -> None:
        for field in self.query(Input):
            field.value = ""

    def _read_parts(self) -> dict[str, str]:
        return {each.id or "": each.value.strip() for each in self.query(Input)}

    def _read_filter(self) -> str:
        return format_filter(self._read_parts())

    def _validate(self) -> str:
        try:
            parse_filter(self._read_filter(), self._now())
        except UsageError as error:
            return error.message
        return ""


def _create_suggester(name: str) -> SuggestFromList | None:
    suggestions = {"type": RESOURCE_TYPES, "change": tuple(AuditAction)}.get(name)
    return SuggestFromList(suggestions, case_sensitive=False) if suggestions else None
