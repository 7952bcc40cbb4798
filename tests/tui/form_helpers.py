"""Fill in and submit forms."""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input

from sealyard_tui.dialogs.fields import ChoiceLine, FieldRow, MultiChoiceLine
from sealyard_tui.dialogs.form import FormDialog
from tests.tui.pilot_helpers import wait_for_workers, wait_until


def field_row(app: App[Any], name: str) -> FieldRow:
    return next(row for row in app.screen.query(FieldRow) if row.field.name == name)


def fill_field(app: App[Any], name: str, value: str) -> None:
    control = field_row(app, name).control
    if isinstance(control, Input):
        control.value = value
    else:
        assert isinstance(control, ChoiceLine)
        assert value in [choice for choice, _ in control.choices], f"{value} is not offered"
        control.pick((value,))


def select_values(app: App[Any], name: str, *values: str) -> None:
    control = field_row(app, name).control
    assert isinstance(control, MultiChoiceLine)
    control.pick(values)


async def open_form(pilot: Pilot[None], key: str) -> FormDialog:
    """Press the key, and wait for the form that it opens."""
    await pilot.press(key)
    await wait_until(pilot, lambda: isinstance(pilot.app.screen, FormDialog) and pilot.app.screen.is_mounted)
    await pilot.pause()
    form = pilot.app.screen
    assert isinstance(form, FormDialog)
    return form


async def submit_form(pilot: Pilot[None]) -> None:
    await pilot.press("ctrl+s")
    await wait_for_workers(pilot)


def type_text(app: App[Any], text: str) -> None:
    """Append text to the focused input."""
    assert isinstance(app.focused, Input)
    app.focused.value += text
