"""Tests of the user's key map: validation, conflicts, and the keys that always quit."""

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


def _rejection_text(wanted: dict[str, str]) -> str:
    """Return the only report; the key map must be rejected."""
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
def test_keys_are_normalized_to_textual_names(text: str, keys: str) -> None:
    wanted = {"approvals.copy": text}
    bindings = {"approvals.copy": ("c",)}
    assert check_keymap(wanted, bindings) == ({"approvals.copy": keys}, ())


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_invalid_keys_report_the_key_kept(text: str, message: str) -> None:
    report_text = _rejection_text({"dashboard.copy": text})
    assert message in report_text
    assert "dashboard.copy stays on c" in report_text


def test_unknown_action_suggests_nearest_action() -> None:
    assert "Did you mean dashboard.download?" in _rejection_text({"dashboard.downlod": "x"})
    assert "The help of each screen lists its actions" in _rejection_text({"\x1bxyz": "x"})


@pytest.mark.parametrize("action", ["app.leave", "finder.mark", "browser.into", "upload.take_offer"])
def test_former_action_names_are_unknown(action: str) -> None:
    bindings = bindings_of(keymap_classes())
    _, errors = check_keymap({action: "f9"}, bindings)
    assert [error.message for error in errors] == [f"Key binding ignored: unknown action {action}."]


def test_guarded_action_rejects_navigation_key() -> None:
    for motion in NAVIGATION_KEYS:
        assert "is a navigation key" in _rejection_text({"dashboard.withdraw": motion})


def test_two_actions_can_swap_keys() -> None:
    wanted = {"dashboard.download": "w", "dashboard.withdraw": "d"}
    assert check_keymap(wanted, BINDINGS) == (wanted, ())


def test_conflicting_keys_keep_first_and_reject_chains() -> None:
    keymap, (report,) = check_keymap({"dashboard.download": "x", "dashboard.copy": "x"}, BINDINGS)
    assert keymap == {"dashboard.download": "x"}
    assert "dashboard.copy stays on c (x is already bound to dashboard.download" in report.message
    chain = {"dashboard.withdraw": "d", "dashboard.download": "c", "dashboard.copy": "j"}
    keymap, reports = check_keymap(chain, BINDINGS)
    assert keymap == {}
    assert len(reports) == 3


def test_same_key_on_different_screens_is_accepted() -> None:
    assert check_keymap({"approvals.copy": "d"}, BINDINGS) == ({"approvals.copy": "d"}, ())


def test_dialog_keys_conflict_only_with_tables() -> None:
    bindings = {"app.note": ("m",), "table.mark": ("space",), "dialog.yes": ("y",), "dialog.no": ("n",)}
    assert check_keymap({"app.note": "y"}, bindings) == ({"app.note": "y"}, ())
    keymap, (report,) = check_keymap({"table.mark": "n"}, bindings)
    assert keymap == {}
    assert "n is already bound to dialog.no" in report.message


def test_terminal_key_alias_conflicts_with_original() -> None:
    bindings = {"app.next": ("tab",), "audit.copy": ("c",)}
    _, (report,) = check_keymap({"audit.copy": "ctrl+i"}, bindings)
    assert "tab is already bound to app.next" in report.message


def test_remapped_quit_keeps_default_key() -> None:
    assert check_keymap({"app.force_quit": "f10"}, BINDINGS) == ({"app.force_quit": "f10,ctrl+q"}, ())


key_lists = st.lists(
    st.sampled_from([*"abcdjkqwxhG?", "ctrl+q", "ctrl+d", "up", "f1", "tab", "ctrl+i", "shift+a", "", "é"]), max_size=3
).map(",".join)


# The first text of a fresh checkout waits for Hypothesis's table of characters.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*BINDINGS, "app.fly"]), key_lists | st.text(max_size=8)))
@example({"app.force_quit": "x", "dashboard.copy": "q"})
@example({"app.help": "ctrl+q", "app.force_quit": "?"})
def test_any_keymap_keeps_quit_and_unique_keys(wanted: dict[str, str]) -> None:
    keymap, reports = check_keymap(wanted, BINDINGS)
    assert len(keymap) + len(reports) == len(wanted)
    assert set(keymap) <= set(BINDINGS)
    now = {action: set(keymap[action].split(",")) if action in keymap else {*keys} for action, keys in BINDINGS.items()}
    assert FORCE_QUIT_KEY in now[FORCE_QUIT]
    for action, keys in now.items():
        screen, _, name = action.partition(".")
        for other, others in now.items():
            meet = screen == other.partition(".")[0] or (
                screen in {"app", "screen", "table"} and not (screen != "table" and other.startswith("dialog."))
            )
            by_default = set(BINDINGS[action]) & set(BINDINGS[other])
            assert action == other or not meet or keys & others <= by_default
        assert name not in GUARDED_ACTIONS or not keys & set(NAVIGATION_KEYS)
    for report in reports:
        assert report.message.isprintable()


class _BaseScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,f5", "download", "Download", id="dashboard.download"),
        ("x", "nothing", "No id"),
    ]


class _DerivedScreen(_BaseScreen):
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


def test_bindings_include_inherited_bindings() -> None:
    assert bindings_of([_DerivedScreen, _Application]) == {
        "dashboard.copy": ("question_mark",),
        "dashboard.download": ("f6", "d", "f5"),
        "app.quit": ("q",),
        "app.note": ("m",),
    }


def test_accepted_keymap_works_in_textual() -> None:
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
