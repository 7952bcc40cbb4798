"""Test the options of the application: start screen, filter, mouse and read-only mode."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path

import pytest

from sealyard.cli.app_launcher import require_terminal
from sealyard.cli.parser import build_parser
from sealyard.client.config.key_holder import KeyHolder
from sealyard.model.errors import UsageError
from tests.support.cli_runner import CliWorkspace, sealyard


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


VARIABLES = ("SEALYARD_READ_ONLY", "SEALYARD_MOUSE", "SEALYARD_START_SCREEN", "SEALYARD_START_FILTER")
OPTIONS = ("--read-only", "--no-mouse", "--start-screen", "audit", "--filter", "gateway 1")


@pytest.fixture
def environments(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Return the list of environments that the application was started with."""
    started: list[dict[str, str]] = []

    def main(key_holder: KeyHolder | None) -> int:
        started.append(dict(os.environ))
        return 0

    monkeypatch.setattr("sealyard_tui.launcher.main", main)
    monkeypatch.setattr("sealyard.cli.app_launcher.require_terminal", lambda: None)
    for name in (*VARIABLES, "SEALYARD_WORKSPACE", "SEALYARD_PROFILE", "SEALYARD_PASSPHRASE"):
        monkeypatch.setenv(name, "before")
    return started


@pytest.mark.parametrize("arguments", [OPTIONS, ("demo", *OPTIONS), (*OPTIONS, "demo")])
def test_options_set_application_environment(environments: list[dict[str, str]], arguments: tuple[str, ...]) -> None:
    assert sealyard(*arguments).code == 0
    assert [environments[0][each] for each in VARIABLES] == ["1", "0", "audit", "gateway 1"]


def test_missing_options_keep_environment(environments: list[dict[str, str]]) -> None:
    assert sealyard().code == 0
    assert [environments[0][each] for each in VARIABLES] == ["before"] * 4


def test_missing_application_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard.cli.app_launcher.APPLICATION_MODULE", "sealyard_missing.launcher")
    monkeypatch.setattr("sealyard.cli.app_launcher.require_terminal", lambda: None)
    result = sealyard()
    assert (result.code, "The application is not installed." in result.err) == (4, True)


def test_application_options_are_rejected_for_commands(workspace: CliWorkspace, tmp_path: Path) -> None:
    result = sealyard("--read-only", *workspace.as_user("owner", "approve", workspace.waiting))
    assert result.code == 2
    assert "--read-only" in result.err
    assert workspace.value("owner", "show", workspace.waiting)["status"] == "WAITING"
    assert sealyard("demo", "--headless", "--start-screen", "audit").code == 2


def test_unknown_start_screen_is_rejected(environments: list[dict[str, str]]) -> None:
    result = sealyard("--start-screen", "unknown")
    assert result.code == 2
    assert "dashboard" in result.err
    assert environments == []


@pytest.mark.parametrize("arguments", [(), ("demo",), ("--start-screen", "audit", "demo", "--keep")])
def test_launch_without_terminal_creates_no_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    result = sealyard(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("sealyard: Not a terminal: the application needs one.")
    assert list(temporary.iterdir()) == []


def test_dumb_terminal_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", FakeTerminal())
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(UsageError, match="TERM is dumb"), contextlib.redirect_stdout(FakeTerminal()):
        require_terminal()


@pytest.mark.parametrize("arguments", [("--unknown",), ("--profile",), ("--start-screen", "unknown"), ("unknown",)])
def test_invalid_arguments_report_full_parser_error(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        build_parser().parse_args(arguments)
    result = sealyard(*arguments)
    assert result.code == 2
    assert caught.value.message in result.err
