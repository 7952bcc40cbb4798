"""Test that commands print signs as ASCII characters if the terminal cannot display others."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from sealyard.cli.progress import ProgressLine
from sealyard.model.ascii_signs import replace_signs
from tests.support.cli_runner import CliWorkspace
from tests.support.pty_session import run_interactive


def test_signs_follow_the_locale_and_the_setting(idle_workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    idle_workspace.value("admin", "policy", "set", "--approval-timeout", "1h")
    idle_workspace.value("admin", "policy", "set", "--approval-timeout", "2h")
    seq = idle_workspace.value("auditor", "audit", "list", "--type", "POLICY")["entries"][0]["seq"]
    for locale, symbols, arrow in (
        ("C.UTF-8", "", "→"),
        ("C", "", ">"),
        ("de_DE.ISO-8859-1", "", ">"),
        ("C", "unicode", "→"),
        ("C.UTF-8", "ascii", ">"),
    ):
        monkeypatch.setenv("LC_ALL", locale)
        if symbols:
            monkeypatch.setenv("SEALYARD_SYMBOLS", symbols)
        lines = idle_workspace.run("auditor", "audit", "show", seq).out.splitlines()
        assert f"  approvalTimeout: 3600 {arrow} 7200" in lines, (locale, symbols)


def test_letters_and_json_stay_unchanged(
    shared_workspace: CliWorkspace, firmware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "Büro → Werk"
    task = shared_workspace.package(firmware, "--name", name)
    monkeypatch.setenv("LC_ALL", "C")
    assert "Büro > Werk" in shared_workspace.run("developer", "show", task["id"]).out
    assert shared_workspace.value("developer", "show", task["id"])["name"] == name


def test_progress_is_ascii() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    ProgressLine(terminal, replace_signs).show("a" * 50, 1, 2, None, None)
    assert "a." in terminal.getvalue()
    assert terminal.getvalue().isascii()


def test_enrollment_without_block_characters(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    session = run_interactive(
        *workspace.as_user("owner", "otp", "enroll"), answers={"of the new authenticator: ": lambda _: "000000"}
    )
    assert session.screen.isascii()
    assert "Enter the secret in an authenticator." in session.screen
