"""A person's own keys: whatever they write, quitting works, no key means two things, and what is wrong is told."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from sealyard_tui.app import keymap_classes
from sealyard_tui.appearance.keymap import (
    FORCE_QUIT,
    FORCE_QUIT_KEY,
    GUARDED_ACTIONS,
    NAVIGATION_KEYS,
    bindings_of,
    check_keymap,
)

BINDINGS = {
    "app.force_quit": ("ctrl+q", "q"),
    "app.help": ("question_mark",),
    "screen.back": ("escape",),
    "table.up": ("up", "k"),
    "table.down": ("down", "j"),
    "dashboard.download": ("d",),
    "dashboard.withdraw": ("w",),
    "dashboard.copy": ("c",),
    "approvals.approve": ("a",),
    "approvals.copy": ("c",),
    "dialog.up": ("k",),
}


def _told(wanted: dict[str, str]) -> str:
    """What is told of the one thing that is wrong; nothing is taken."""
    keymap, (report,) = check_keymap(wanted, BINDINGS)
    assert keymap == {}
    return f"{report.message} {report.hint}"


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("x", "x"),
        ("x, f5", "x,f5"),
        ("?", "question_mark"),
        ("X", "X"),
        ("+", "plus"),
        *((each, each) for each in ("slash", "backslash", "at", "minus", "underscore", "full_stop")),
        ("ctrl+x", "ctrl+x"),
        ("ctrl+shift+up", "ctrl+shift+up"),
        ("alt+x", "alt+x"),
        ("ctrl+right_square_bracket", "ctrl+right_square_bracket"),
        ("ü", "ü"),
        ("space", "space"),
        ("comma", "comma"),
        ("x,x", "x"),
    ],
)
def test_keys_are_understood_as_textual_names_them(text: str, keys: str) -> None:
    wanted = {"approvals.copy": text}
    bindings = {"approvals.copy": ("c",)}
    assert check_keymap(wanted, bindings) == ({"approvals.copy": keys}, ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a key"),
        ("x,", "is not a key"),
        ("contrl+x", "unknown key 'contrl+x'"),
        ("ctrl+ctrl+x", "unknown key"),
        ("ctrl+", "unknown key"),
        ("f99", "unknown key"),
        ("shift+a", "use A"),
        ("ctrl+G", "write ctrl+g"),
        ("latin_small_letter_a", "unknown key"),
        ("<any>", "unknown key"),
        ("\x1b[31m", "'\\x1b[31m'"),
        ("ctrl+q", "ctrl+q always quits"),
        ("d", "d is already bound to dashboard.download"),
        ("j", "j is already bound to table.down"),
        ("?", "question_mark is already bound to app.help"),
    ],
)
def test_what_cannot_be_is_told_with_what_stays_in_force(text: str, said: str) -> None:
    told = _told({"dashboard.copy": text})
    assert said in told
    assert "dashboard.copy stays on c" in told


def test_an_unknown_action_is_told_with_the_nearest() -> None:
    assert "Did you mean dashboard.download?" in _told({"dashboard.downlod": "x"})
    assert "The help of each screen lists its actions" in _told({"\x1bxyz": "x"})


@pytest.mark.parametrize("action", ["app.leave", "finder.mark", "browser.into", "upload.take_offer"])
def test_earlier_names_of_actions_are_unknown(action: str) -> None:
    bindings = bindings_of(keymap_classes())
    _, errors = check_keymap({action: "f9"}, bindings)
    assert [error.message for error in errors] == [f"Key binding ignored: unknown action {action}."]


def test_a_grave_action_is_never_on_a_motion() -> None:
    for motion in NAVIGATION_KEYS:
        assert "is a navigation key" in _told({"dashboard.withdraw": motion})


def test_two_actions_may_change_places() -> None:
    wanted = {"dashboard.download": "w", "dashboard.withdraw": "d"}
    assert check_keymap(wanted, BINDINGS) == (wanted, ())


def test_two_wishes_for_one_key_leave_the_first_and_a_chain_falls_back_as_a_whole() -> None:
    keymap, (report,) = check_keymap({"dashboard.download": "x", "dashboard.copy": "x"}, BINDINGS)
    assert keymap == {"dashboard.download": "x"}
    assert "dashboard.copy stays on c (x is already bound to dashboard.download" in report.message
    chain = {"dashboard.withdraw": "d", "dashboard.download": "c", "dashboard.copy": "j"}
    keymap, reports = check_keymap(chain, BINDINGS)
    assert keymap == {}
    assert len(reports) == 3


def test_a_key_may_be_used_in_two_places_that_never_meet() -> None:
    assert check_keymap({"approvals.copy": "d"}, BINDINGS) == ({"approvals.copy": "d"}, ())


def test_a_key_of_dialogs_is_free_for_the_application_below_them_but_not_for_their_lists() -> None:
    bindings = {"app.note": ("m",), "table.mark": ("space",), "dialog.yes": ("y",), "dialog.no": ("n",)}
    assert check_keymap({"app.note": "y"}, bindings) == ({"app.note": "y"}, ())
    keymap, (report,) = check_keymap({"table.mark": "n"}, bindings)
    assert keymap == {}
    assert "n is already bound to dialog.no" in report.message


def test_a_key_that_reaches_us_as_another_is_that_other() -> None:
    bindings = {"app.next": ("tab",), "audit.copy": ("c",)}
    _, (report,) = check_keymap({"audit.copy": "ctrl+i"}, bindings)
    assert "tab is already bound to app.next" in report.message


def test_quit_may_have_other_keys_and_keeps_its_own() -> None:
    assert check_keymap({"app.force_quit": "f10"}, BINDINGS) == ({"app.force_quit": "f10,ctrl+q"}, ())


some_keys = st.lists(
    st.sampled_from([*"abcdjkqwxhG?", "ctrl+q", "ctrl+d", "up", "f1", "tab", "ctrl+i", "shift+a", "", "é"]), max_size=3
).map(",".join)


# The first text of a fresh checkout waits for Hypothesis's table of characters.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*BINDINGS, "app.fly"]), some_keys | st.text(max_size=8)))
@example({"app.force_quit": "x", "dashboard.copy": "q"})
@example({"app.help": "ctrl+q", "app.force_quit": "?"})
def test_whatever_is_wanted_quit_is_reachable_and_no_key_means_two_things(wanted: dict[str, str]) -> None:
    keymap, reports = check_keymap(wanted, BINDINGS)
    assert len(keymap) + len(reports) == len(wanted)
    assert set(keymap) <= set(BINDINGS)
    now = {action: set(keymap[action].split(",")) if action in keymap else {*keys} for action, keys in BINDINGS.items()}
    assert FORCE_QUIT_KEY in now[FORCE_QUIT]
    for action, keys in now.items():
        place, _, name = action.partition(".")
        for other, others in now.items():
            meet = place == other.partition(".")[0] or (
                place in {"app", "screen", "table"} and not (place != "table" and other.startswith("dialog."))
            )
            by_default = set(BINDINGS[action]) & set(BINDINGS[other])
            assert action == other or not meet or keys & others <= by_default
        assert name not in GUARDED_ACTIONS or not keys & set(NAVIGATION_KEYS)
    for report in reports:
        assert report.message.isprintable()


class _Place(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,f5", "download", "Download", id="dashboard.download"),
        ("x", "nothing", "No id"),
    ]


class _Narrower(_Place):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("?", "copy", "Copy", id="dashboard.copy"),
        Binding("f6", "download", id="dashboard.download"),
    ]


class _Application(App[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit", id="app.quit"),
        Binding("m", "note", "Note", id="app.note"),
    ]
    noted = 0

    def action_note(self) -> None:
        self.noted += 1


def test_actions_are_collected_with_what_is_inherited() -> None:
    assert bindings_of([_Narrower, _Application]) == {
        "dashboard.copy": ("question_mark",),
        "dashboard.download": ("f6", "d", "f5"),
        "app.quit": ("q",),
        "app.note": ("m",),
    }


def test_what_is_accepted_does_what_it_says_in_textual() -> None:
    async def pressed() -> None:
        app = _Application()
        keymap, _ = check_keymap({"app.note": "+,f5", "app.quit": "x"}, bindings_of([_Application]))
        app.set_keymap(keymap)
        async with app.run_test() as pilot:
            await pilot.press("m", "plus", "f5", "q")
            assert app.noted == 2
            assert app.is_running
            await pilot.press("ctrl+q")
        assert app.return_code == 0

    asyncio.run(pressed())
