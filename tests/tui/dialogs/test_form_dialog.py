"""Tests of the form dialog: validation, progress, errors and drafts."""

from __future__ import annotations

import asyncio

from textual.widgets import Button

from sealyard.model.errors import StorageError
from sealyard.model.formatting import parse_duration
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.fields import Answers, ChoiceField, FieldRow, MultiChoiceField, TextField
from sealyard_tui.dialogs.form import FormDialog, FormDraft
from sealyard_tui.dialogs.picker import FilterPickDialog
from tests.tui.form_helpers import field_row, fill_field, select_values
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace

HOSTILE = "x[/oops] [@click=app.quit]y[/] \x1b]2;PWNED\x07 \u202e"


class FakeSubmit:
    """The submit callback of a form; runs until ``released`` is set."""

    def __init__(self, error: StorageError | None = None) -> None:
        self.released = asyncio.Event()
        self.released.set()
        self.error = error
        self.answers: list[Answers] = []

    async def __call__(self, answers: Answers) -> bool:
        self.answers.append(answers)
        await self.released.wait()
        if self.error is not None:
            raise self.error
        return True


def make_form(submit: FakeSubmit, draft: FormDraft | None = None) -> FormDialog:
    return FormDialog(
        "A form",
        (
            TextField(name="name", label="Name", required=True),
            TextField(name="span", label="Span", value="1d", check=parse_duration, hint="As 24h"),
            ChoiceField(name="colour", label="Colour", choices=(("r", "red"), ("g", "green"), ("h", HOSTILE))),
            ChoiceField(
                name="shade",
                label="Shade",
                choices=lambda texts: tuple((f"{texts['colour']}{n}", f"shade {n}") for n in (1, 2)),
            ),
            MultiChoiceField(
                name="who", label="Who", choices=(("a", "anna"), ("b", HOSTILE), ("c", "carl")), empty_label="nobody"
            ),
        ),
        submit,
        draft=draft or FormDraft(),
        busy_label="Making it",
    )


def open_dialog(app: SealyardApp, dialog: FormDialog) -> list[bool | None]:
    closed: list[bool | None] = []
    app.push_screen(dialog, closed.append)
    return closed


def make_devices_app(workspace: TuiWorkspace) -> SealyardApp:
    return make_app(workspace, "administrator", start_screen="devices")


async def test_enter_moves_on_and_ctrl_s_submits(workspace: TuiWorkspace) -> None:
    app, submit = make_devices_app(workspace), FakeSubmit()
    async with run_app(app, size=(80, 24)) as pilot:
        closed = open_dialog(app, make_form(submit))
        await pilot.pause()
        await pilot.press("n", "1", "enter")
        assert app.focused is not None
        assert next(each for each in app.focused.ancestors if isinstance(each, FieldRow)).field.name == "span"
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: closed)
        assert closed == [True]
        assert submit.answers[0].texts == {"name": "n1", "span": "1d", "colour": "r", "shade": "r1"}
        assert submit.answers[0].selections == {"who": ()}


async def test_enter_submits_from_last_field(workspace: TuiWorkspace) -> None:
    app, submit = make_devices_app(workspace), FakeSubmit()
    async with run_app(app, size=(80, 24)) as pilot:
        closed = open_dialog(app, make_form(submit))
        await pilot.pause()
        await pilot.press("n", "enter", "enter", "enter", "enter")
        assert app.focused is field_row(app, "who").control
        assert not submit.answers
        await pilot.press("enter")
        await wait_until(pilot, lambda: closed == [True])
        assert submit.answers[0].texts["name"] == "n"


async def test_arrow_keys_choose_single_value(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        open_dialog(app, make_form(FakeSubmit()))
        await pilot.pause()
        row = field_row(app, "who")
        app.screen.set_focus(row.control)
        selections = []
        for key in ("right", "right", "left", "left", "left"):
            await pilot.press(key)
            selections.append(row.selection)
        assert selections == [("a",), ("b",), ("a",), (), ("c",)]


async def test_arrow_keys_keep_several_values(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        open_dialog(app, make_form(FakeSubmit()))
        await pilot.pause()
        row = field_row(app, "who")
        select_values(app, "who", "a", "c")
        app.screen.set_focus(row.control)
        await pilot.press("right")
        await wait_until(pilot, lambda: isinstance(app.screen, FilterPickDialog))
        assert row.selection == ("a", "c")


async def test_form_closed_before_first_paint_raises_nothing(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        dialog = make_form(FakeSubmit())
        open_dialog(app, dialog)
        await wait_until(pilot, lambda: dialog.query(FieldRow))
        await pilot.press("escape")
        await wait_until(pilot, lambda: dialog not in app.screen_stack and not dialog.query(FieldRow))
        dialog.fit()
        assert app._exception is None


async def test_invalid_field_shows_error_without_submit(workspace: TuiWorkspace) -> None:
    app, submit = make_devices_app(workspace), FakeSubmit()
    async with run_app(app, size=(80, 24)) as pilot:
        open_dialog(app, make_form(submit))
        await pilot.pause()
        fill_field(app, "span", "soon")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "✗ This field is required.", "Invalid duration 'soon'")
        assert not submit.answers


async def test_submit_button_is_enabled_when_all_fields_are_valid(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        open_dialog(app, make_form(FakeSubmit()))
        await assert_visible(pilot, "○ not ready: enter Name")
        button = app.screen.query_one("#yes", Button)
        assert button.disabled
        fill_field(app, "name", "n")
        fill_field(app, "span", "soon")
        await assert_visible(pilot, "○ not ready: correct Span")
        assert button.disabled
        fill_field(app, "span", "2d")
        await wait_until(pilot, lambda: not button.disabled)
        assert "not ready" not in screen_text(app)


async def test_fields_have_side_edges(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        open_dialog(app, make_form(FakeSubmit()))
        await assert_visible(pilot, "Who")
        lines = [line for line in screen_text(app).splitlines() if "▏" in line]
        assert [line[line.index("▏") - 19 :].split()[0] for line in lines] == ["Name", "Span", "Colour", "Shade", "Who"]
        assert len({(line.index("▏"), line.index("▕")) for line in lines}) == 1


async def test_submit_error_is_shown_in_form(workspace: TuiWorkspace) -> None:
    app, submit = make_devices_app(workspace), FakeSubmit(StorageError("The disk is full.", "Make room."))
    async with run_app(app, size=(80, 24)) as pilot:
        closed = open_dialog(app, make_form(submit))
        await pilot.pause()
        fill_field(app, "name", "gateway")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "✗ The disk is full.", "→ Make room.", "gateway")
        submit.error = None
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: closed == [True])


async def test_running_submit_is_not_started_twice(workspace: TuiWorkspace) -> None:
    app, submit = make_devices_app(workspace), FakeSubmit()
    submit.released.clear()
    async with run_app(app, size=(80, 24)) as pilot:
        closed = open_dialog(app, make_form(submit))
        await pilot.pause()
        fill_field(app, "name", "gateway")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "▸ Making it…")
        await pilot.press("ctrl+s", "down", "x")
        await assert_visible(pilot, "1dx")
        submit.released.set()
        await wait_until(pilot, lambda: closed == [True])
        assert len(submit.answers) == 1


async def test_escape_stops_running_submit_and_keeps_draft(workspace: TuiWorkspace) -> None:
    app, submit, draft = make_devices_app(workspace), FakeSubmit(), FormDraft()
    submit.released.clear()
    async with run_app(app, size=(80, 24)) as pilot:
        closed = open_dialog(app, make_form(submit, draft))
        await pilot.pause()
        fill_field(app, "name", "gateway")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "▸ Making it…")
        await pilot.press("escape")
        await wait_until(pilot, lambda: closed == [False])
        await wait_for_workers(pilot)
        assert draft.answers is not None
        assert draft.answers.texts["name"] == "gateway"


async def test_escape_keeps_draft(workspace: TuiWorkspace) -> None:
    app, draft = make_devices_app(workspace), FormDraft()
    async with run_app(app, size=(80, 24)) as pilot:
        open_dialog(app, make_form(FakeSubmit(), draft))
        await pilot.pause()
        await pilot.press("g", "w", "escape")
        open_dialog(app, make_form(FakeSubmit(), draft))
        await assert_visible(pilot, "gw")
        await pilot.press("ctrl+s")
        await wait_for_workers(pilot)
        assert draft.answers is None, "a submitted draft is deleted"


async def test_choices_depend_on_other_fields(workspace: TuiWorkspace) -> None:
    app, submit = make_devices_app(workspace), FakeSubmit()
    async with run_app(app, size=(80, 24)) as pilot:
        open_dialog(app, make_form(submit))
        await pilot.pause()
        fill_field(app, "name", "n")
        await pilot.press("tab", "tab", "right")
        await assert_visible(pilot, "green")
        await pilot.press("ctrl+s")
        await wait_for_workers(pilot)
        assert submit.answers[0].texts["shade"] == "g1"


async def test_multiple_values_are_picked_with_filter(workspace: TuiWorkspace) -> None:
    app, submit = make_devices_app(workspace), FakeSubmit()
    async with run_app(app, size=(80, 24)) as pilot:
        open_dialog(app, make_form(submit))
        await pilot.pause()
        fill_field(app, "name", "n")
        await pilot.press("tab", "tab", "tab", "tab", "space")
        await wait_until(pilot, lambda: isinstance(app.screen, FilterPickDialog))
        await pilot.press("space", "c", "a", "r")
        await assert_visible(pilot, "1 of 3")
        await pilot.press("space", "enter")
        await assert_visible(pilot, "2 anna, carl")
        await pilot.press("ctrl+s")
        await wait_for_workers(pilot)
        assert submit.answers[0].selections["who"] == ("a", "c")


async def test_choices_escape_hostile_text(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        open_dialog(app, make_form(FakeSubmit()))
        await pilot.pause()
        await pilot.press("tab", "tab", "space")
        await assert_visible(pilot, "x[/oops] [@click=app.quit]y[/] \\x1b]2;PWNED\\x07 \\u202e")
        await pilot.press("down", "down", "enter")
        await assert_visible(pilot, "‹ x[/oops] [@click=app.quit]y[/] \\x1b]2;")
        assert "\x1b" not in screen_text(app)


async def test_long_form_scrolls_with_buttons_visible(workspace: TuiWorkspace) -> None:
    app = make_devices_app(workspace)
    fields = tuple(TextField(name=f"f{n}", label=f"Field {n}") for n in range(40))
    async with run_app(app, size=(80, 24)) as pilot:
        open_dialog(app, FormDialog("Long", fields, FakeSubmit(), draft=FormDraft()))
        await assert_visible(pilot, "Field 0", "(^s)")
        await pilot.press("up", "up", "up")
        await assert_visible(pilot, "Field 39", "(^s)")
