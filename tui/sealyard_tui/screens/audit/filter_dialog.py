"""The filter of the audit log as a form."""

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

TYPES = ("TASK", "DEVICE_CONFIG", "KEY", "SUBJECT", "ACL", "POLICY", "AUDIT_LOG", "WORKSPACE")
"""Suggestions; the log may have others."""

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
    """Returns the filter as text; None if the user went back."""

    heading = "Filter entries"
    CSS_PATH = "dialogs.tcss"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "done", "Apply", id="audit_form.done", priority=True),
        Binding("ctrl+r", "empty", "Clear", id="audit_form.empty", priority=True),
        Binding("down", "app.focus_next", "Next field", show=False, id="audit_form.next"),
        Binding("up", "app.focus_previous", "Previous field", show=False, id="audit_form.previous"),
    ]

    drafts: ClassVar[dict[str, dict[str, str]]] = {}
    """Input that was typed over a filter and not applied."""

    def __init__(self, line: str, now: Callable[[], datetime]) -> None:
        """``line`` is the current filter; if it is invalid, it becomes the text to search."""
        super().__init__()
        self._now = now
        self._before = line
        try:
            self._parts = self.drafts.get(line) or split_filter(line)
        except UsageError:
            self._parts = {TEXT: line}

    def compose_body(self) -> ComposeResult:
        with VerticalScroll(classes="fields"):
            for name in (TEXT, *FIELDS):
                with Horizontal(classes="field"):
                    yield Label(name)
                    yield SafeInput(
                        self._parts.get(name, ""),
                        id=name,
                        placeholder=HINTS[name],
                        suggester=_suggester(name),
                        compact=True,
                    )
        yield Static("", classes="wrong", markup=False)
        with Horizontal(classes="buttons"):
            yield Button(Content("Apply"), id="done", variant="primary", compact=True)
            yield Button(Content("Back"), id="back", compact=True)

    def on_mount(self) -> None:
        self.set_focus(self.query_one(f"#{TEXT}"))

    @on(Input.Changed)
    def _typed(self) -> None:
        self.drafts[self._before] = self._typed_parts()
        wrong = self._wrong()
        self.query_one(".wrong", Static).update(Content(f"✗ {wrong}" if wrong else ""))

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "done":
            self.action_done()
        else:
            self.dismiss(None)

    @on(Input.Submitted)
    def action_done(self) -> None:
        if not self._wrong():
            self.drafts.pop(self._before, None)
            self.dismiss(self._line())

    def action_empty(self) -> None:
        for field in self.query(Input):
            field.value = ""

    def _typed_parts(self) -> dict[str, str]:
        return {each.id or "": each.value.strip() for each in self.query(Input)}

    def _line(self) -> str:
        return format_filter(self._typed_parts())

    def _wrong(self) -> str:
        try:
            parse_filter(self._line(), self._now())
        except UsageError as error:
            return error.message
        return ""


def _suggester(name: str) -> SuggestFromList | None:
    words = {"type": TYPES, "change": tuple(AuditAction)}.get(name)
    return SuggestFromList(words, case_sensitive=False) if words else None
