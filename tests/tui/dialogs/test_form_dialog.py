"""A form: wrong answers are told beside their field, work is seen to go on, and nothing typed is lost."""

from __future__ import annotations

import asyncio

from sealyard.model.errors import StorageError
from sealyard.model.formatting import parse_duration
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.fields import Answers, ChoiceField, FieldRow, MultiChoiceField, TextField
from sealyard_tui.dialogs.form import FormDialog, FormDraft
from sealyard_tui.dialogs.picker import FilterPickDialog
from tests.tui.form_helpers import fill_field
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace

HOSTILE = "x[/oops] [@click=app.quit]y[/] \x1b]2;PWNED\x07 \u202e"


class Deed:
    """What a form is for; it goes on until it is let."""

    def __init__(self, error: StorageError | None = None) -> None:
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.error = error
        self.answers: list[Answers] = []

    async def __call__(self, answers: Answers) -> bool:
        self.answers.append(answers)
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return True


def form(deed: Deed, draft: FormDraft | None = None) -> FormDialog:
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
        deed,
        draft=draft or FormDraft(),
        busy_label="Making it",
    )


def opened(app: SealyardApp, dialog: FormDialog) -> list[bool | None]:
    closed: list[bool | None] = []
    app.push_screen(dialog, closed.append)
    return closed


def the_app(workspace: TuiWorkspace) -> SealyardApp:
    return make_app(workspace, "administrator", start_screen="devices")


async def test_enter_goes_on_and_ctrl_s_hands_in(workspace: TuiWorkspace) -> None:
    app, deed = the_app(workspace), Deed()
    async with run_app(app, size=(80, 24)) as pilot:
        closed = opened(app, form(deed))
        await pilot.pause()
        await pilot.press("n", "1", "enter")
        assert app.focused is not None
        assert next(each for each in app.focused.ancestors if isinstance(each, FieldRow)).field.name == "span"
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: closed)
        assert closed == [True]
        assert deed.answers[0].texts == {"name": "n1", "span": "1d", "colour": "r", "shade": "r1"}
        assert deed.answers[0].selections == {"who": ()}


async def test_a_form_that_is_closed_before_the_paint_it_waited_for_ends_in_peace(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        dialog = form(Deed())
        opened(app, dialog)
        await wait_until(pilot, lambda: dialog.query(FieldRow))
        await pilot.press("escape")
        await wait_until(pilot, lambda: dialog not in app.screen_stack and not dialog.query(FieldRow))
        dialog._limit_height()
        assert app._exception is None


async def test_a_wrong_answer_is_told_beside_its_field_and_nothing_is_done(workspace: TuiWorkspace) -> None:
    app, deed = the_app(workspace), Deed()
    async with run_app(app, size=(80, 24)) as pilot:
        opened(app, form(deed))
        await pilot.pause()
        fill_field(app, "span", "soon")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "✗ This field is required.", "Invalid duration 'soon'")
        assert not deed.answers


async def test_an_error_of_the_work_stays_in_the_form_with_all_that_was_typed(workspace: TuiWorkspace) -> None:
    app, deed = the_app(workspace), Deed(StorageError("The disk is full.", "Make room."))
    async with run_app(app, size=(80, 24)) as pilot:
        closed = opened(app, form(deed))
        await pilot.pause()
        fill_field(app, "name", "gateway")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "✗ The disk is full.", "→ Make room.", "gateway")
        deed.error = None
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: closed == [True])


async def test_long_work_is_seen_to_go_on_and_is_not_begun_twice(workspace: TuiWorkspace) -> None:
    app, deed = the_app(workspace), Deed()
    deed.go_on.clear()
    async with run_app(app, size=(80, 24)) as pilot:
        closed = opened(app, form(deed))
        await pilot.pause()
        fill_field(app, "name", "gateway")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "▸ Making it…")
        await pilot.press("ctrl+s", "down", "x")
        await assert_visible(pilot, "1dx")
        deed.go_on.set()
        await wait_until(pilot, lambda: closed == [True])
        assert len(deed.answers) == 1


async def test_work_that_was_left_comes_to_its_end_and_tells_its_error(workspace: TuiWorkspace) -> None:
    app, deed = the_app(workspace), Deed(StorageError("The disk is full."))
    deed.go_on.clear()
    async with run_app(app, size=(80, 24)) as pilot:
        closed = opened(app, form(deed))
        await pilot.pause()
        fill_field(app, "name", "gateway")
        await pilot.press("ctrl+s", "escape")
        await wait_until(pilot, lambda: closed == [False])
        deed.go_on.set()
        await assert_visible(pilot, "Error", "The disk is full.")


async def test_esc_keeps_what_was_typed_for_the_next_time(workspace: TuiWorkspace) -> None:
    app, draft = the_app(workspace), FormDraft()
    async with run_app(app, size=(80, 24)) as pilot:
        opened(app, form(Deed(), draft))
        await pilot.pause()
        await pilot.press("g", "w", "escape")
        opened(app, form(Deed(), draft))
        await assert_visible(pilot, "gw")
        await pilot.press("ctrl+s")
        await wait_for_workers(pilot)
        assert draft.answers is None, "what was handed in is not offered again"


async def test_choices_follow_from_other_answers(workspace: TuiWorkspace) -> None:
    app, deed = the_app(workspace), Deed()
    async with run_app(app, size=(80, 24)) as pilot:
        opened(app, form(deed))
        await pilot.pause()
        fill_field(app, "name", "n")
        await pilot.press("tab", "tab", "right")
        await assert_visible(pilot, "green")
        await pilot.press("ctrl+s")
        await wait_for_workers(pilot)
        assert deed.answers[0].texts["shade"] == "g1"


async def test_several_are_marked_in_a_list_that_typing_narrows(workspace: TuiWorkspace) -> None:
    app, deed = the_app(workspace), Deed()
    async with run_app(app, size=(80, 24)) as pilot:
        opened(app, form(deed))
        await pilot.pause()
        fill_field(app, "name", "n")
        await pilot.press("tab", "tab", "tab", "tab", "enter")
        await wait_until(pilot, lambda: isinstance(app.screen, FilterPickDialog))
        await pilot.press("space", "c", "a", "r")
        await assert_visible(pilot, "1 of 3")
        await pilot.press("space", "enter")
        await assert_visible(pilot, "2 anna, carl")
        await pilot.press("ctrl+s")
        await wait_for_workers(pilot)
        assert deed.answers[0].selections["who"] == ("a", "c")


async def test_foreign_words_to_choose_from_are_harmless(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        opened(app, form(Deed()))
        await pilot.pause()
        await pilot.press("tab", "tab", "enter")
        await assert_visible(pilot, "x[/oops] [@click=app.quit]y[/] \\x1b]2;PWNED\\x07 \\u202e")
        await pilot.press("down", "down", "enter")
        await assert_visible(pilot, "‹ x[/oops] [@click=app.quit]y[/] \\x1b]2;")
        assert "\x1b" not in screen_text(app)


async def test_a_long_form_scrolls_and_its_buttons_stay(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    fields = tuple(TextField(name=f"f{n}", label=f"Field {n}") for n in range(40))
    async with run_app(app, size=(80, 24)) as pilot:
        opened(app, FormDialog("Long", fields, Deed(), draft=FormDraft()))
        await assert_visible(pilot, "Field 0", "(^s)")
        await pilot.press("up", "up", "up")
        await assert_visible(pilot, "Field 39", "(^s)")
