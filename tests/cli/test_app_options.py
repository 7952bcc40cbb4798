"""The options of the application reach it, and nothing else takes them."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path

import pytest

from sealyard.cli.app_launcher import require_terminal
from sealyard.cli.parser import build_parser
from sealyard.model.errors import UsageError
from tests.support.cli_runner import CliWorkspace, sealyard


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


NAMES = ("SEALYARD_READ_ONLY", "SEALYARD_MOUSE", "SEALYARD_START_SCREEN", "SEALYARD_START_FILTER")
OPTIONS = ("--read-only", "--no-mouse", "--start-screen", "audit", "--filter", "gateway 1")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The environment of each start of the application."""
    started: list[dict[str, str]] = []

    class Found:
        def load(self) -> object:
            def main() -> int:
                started.append(dict(os.environ))
                return 0

            return main

    monkeypatch.setattr("sealyard.cli.app_launcher.entry_points", lambda group: [Found()])
    monkeypatch.setattr("sealyard.cli.app_launcher.require_terminal", lambda: None)
    for name in (*NAMES, "SEALYARD_WORKSPACE", "SEALYARD_PROFILE", "SEALYARD_PASSPHRASE"):
        monkeypatch.setenv(name, "before")
    return started


@pytest.mark.parametrize("arguments", [OPTIONS, ("demo", *OPTIONS), (*OPTIONS, "demo")])
def test_options_of_the_application_reach_it(seen: list[dict[str, str]], arguments: tuple[str, ...]) -> None:
    assert sealyard(*arguments).code == 0
    assert [seen[0][each] for each in NAMES] == ["1", "0", "audit", "gateway 1"]


def test_what_is_not_said_is_left_to_the_settings(seen: list[dict[str, str]]) -> None:
    assert sealyard().code == 0
    assert [seen[0][each] for each in NAMES] == ["before"] * 4


def test_no_command_is_run_as_if_it_were_read_only(house: CliWorkspace, tmp_path: Path) -> None:
    refused = sealyard("--read-only", *house.as_user("owner", "approve", house.waiting))
    assert refused.code == 2
    assert "--read-only" in refused.err
    assert house.value("owner", "show", house.waiting)["status"] == "WAITING"
    assert sealyard("demo", "--headless", "--start-screen", "audit").code == 2


def test_a_screen_that_does_not_exist_is_refused(seen: list[dict[str, str]]) -> None:
    refused = sealyard("--start-screen", "kitchen")
    assert refused.code == 2
    assert "dashboard" in refused.err
    assert seen == []


@pytest.mark.parametrize("arguments", [(), ("demo",), ("--start-screen", "audit", "demo", "--keep")])
def test_where_nobody_could_see_the_application_nothing_is_made_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    refused = sealyard(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("sealyard: Not a terminal: the application needs one.")
    assert list(place.iterdir()) == []


def test_a_terminal_that_cannot_draw_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal())
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(UsageError, match="TERM is dumb"), contextlib.redirect_stdout(_Terminal()):
        require_terminal()


@pytest.mark.parametrize("arguments", [("--nonsense",), ("--profile",), ("--start-screen", "kitchen"), ("nonsense",)])
def test_what_makes_no_sense_is_refused_as_if_all_commands_were_known(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as refusal:
        build_parser().parse_args(arguments)
    refused = sealyard(*arguments)
    assert refused.code == 2
    assert refusal.value.message in refused.err
