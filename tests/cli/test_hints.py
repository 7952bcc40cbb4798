"""Hints in the words of the command line."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sealyard.cli.hints import format_error
from sealyard.cli.output import Output
from sealyard.model.errors import NotFoundError, ResultExpiredError
from sealyard.model.hints import NEUTRAL_TEXTS, Hint, HintCode
from tests.support.cli_runner import CliWorkspace, sealyard


@pytest.mark.parametrize(
    ("user", "arguments", "hint"),
    [
        ("developer", ("show", "unknown"), "List tasks with `sealyard tasks`."),
        ("developer", ("device", "show", "unknown"), "List device configurations with `sealyard device list`."),
        ("admin", ("acl", "remove", "unknown"), "List rules with `sealyard acl list`."),
        ("developer", ("subject", "add", "new"), "Ask an administrator to grant it (`sealyard acl add`)."),
        (
            "admin",
            ("acl", "add", "USER:new", "RESOURCE_TYPE:KEY", "VIEW"),
            "Add it first: sealyard subject add USER:new",
        ),
        ("admin", ("device", "export-key", "gateway", "--out", "key.bin"), "Confirm it with --yes."),
        ("admin", ("otp", "confirm", "123456"), "Enroll an authenticator first: sealyard otp enroll"),
    ],
)
def test_hint_names_a_command(shared_workspace: CliWorkspace, user: str, arguments: tuple[str, ...], hint: str) -> None:
    ran = shared_workspace.run(user, *arguments)
    assert ran.code != 0
    assert hint in ran.err.splitlines()[-1]


def test_json_has_the_code_and_arguments(shared_workspace: CliWorkspace) -> None:
    error = shared_workspace.run("admin", "acl", "add", "USER:new", "RESOURCE_TYPE:KEY", "VIEW", "--json").value[
        "error"
    ]
    assert error["hint"] == "Add USER:new first."
    assert (error["hintCode"], error["hintArgs"]) == ("add-subject", {"subject": "USER:new"})


def test_missing_workspace_names_commands(home: object) -> None:
    ran = sealyard("tasks")
    assert ran.code == 4
    assert "`sealyard init`" in ran.err
    assert "`sealyard login`" in ran.err


def test_unknown_code_shows_the_neutral_text() -> None:
    error = NotFoundError("It is missing.", Hint("Do this.", "from-the-future", {"a": "b"}))
    assert format_error(error) == "It is missing. Do this."


@pytest.mark.parametrize("args", [{}, {"other": "x"}])
def test_missing_argument_shows_the_neutral_text(args: Mapping[str, str]) -> None:
    hint = Hint(NEUTRAL_TEXTS[HintCode.LIST_TASKS], HintCode.RENEW_LINK, args)
    assert format_error(ResultExpiredError("It expired.", hint)) == "It expired. Check the list of tasks."


def test_arguments_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    hint = Hint.of(HintCode.RENEW_LINK, task_id="a\x1b]2;PWNED\x07\nb\u202e")
    Output(as_json=False).error(ResultExpiredError("It expired.", hint))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["sealyard: It expired.", "  Renew it: sealyard renew a\\x1b]2;PWNED\\x07\\x0ab\\u202e"]
