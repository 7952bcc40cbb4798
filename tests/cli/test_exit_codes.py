"""Test each exit code with commands that cause it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from sealyard.cli.arguments import CommandParser
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import UNVERIFIED_NOTE
from sealyard.cli.parser import build_parser
from tests.support.cli_runner import CliResult, CliWorkspace, run_process, sealyard, value_of, wait_until


def test_success_exits_with_0(workspace: CliWorkspace) -> None:
    assert workspace.run("developer", "tasks").code == 0
    assert workspace.run("developer", "tasks").err == f"{UNVERIFIED_NOTE}\n"


def test_invalid_container_exits_with_1(workspace: CliWorkspace, tmp_path: Path) -> None:
    certificate, container = tmp_path / "c.pem", tmp_path / "container"
    certificate.write_text(workspace.run("admin", "device", "certificates", "gateway").out)
    container.write_bytes(next((workspace.folder / "artifacts").rglob("*" + workspace.done + "*")).read_bytes()[:-1])
    result = sealyard("verify", container, "--certificate", certificate, "--json")
    assert (result.code, result.value["error"]["code"]) == (1, "container")


def test_failed_task_exits_with_1(workspace: CliWorkspace) -> None:
    (workspace.folder / "keys" / "local").rename(workspace.folder / "keys" / "lost")
    result = workspace.run("owner", "approve", workspace.waiting, "--json")
    assert (result.code, result.value["status"]) == (1, "FAILED")
    assert result.value["reason"] != ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("fly",),
        ("tasks", "--status", "LOST"),
        ("device",),
        ("package", "--device", "gateway"),
        ("policy", "set", "--approval-timeout", "soon"),
        ("policy", "set", "--approval", "everything"),
        ("package", "--device", "gateway", "--firmware", "a", "--timeout", "1"),
        ("package", "--device", "gateway", "--firmware", "a", "--sha256", "0" * 64, "0" * 64),
        ("package", "--device", "gateway", "--firmware", "a", "--sha256", "abc"),
        ("encrypt", "--device", "gateway", "a", "--sha256", "0" * 32),
        ("sign", "--device", "gateway", "--digest-base64", "*"),
        ("sign", "--device", "gateway", "--digest-base64", "0" * 64),
        ("subject", "add", "ROBOT:r2"),
        ("subject", "add", "caf\udce9"),
        ("device", "export-key", "gateway", "--out", "key"),
        ("download",),
        ("audit", "export", "--format", "csv", "--json"),
        ("profile", "add", "a b", "--identity", "anna"),
    ],
)
def test_invalid_arguments_exit_with_2(workspace: CliWorkspace, arguments: tuple[str, ...]) -> None:
    result = workspace.run("admin", *arguments)
    assert result.code == 2, result
    assert result.err.startswith("sealyard: ")
    assert "Traceback" not in result.err


def test_missing_permission_exits_with_3(shared_workspace: CliWorkspace) -> None:
    assert shared_workspace.run("developer", "audit", "list").code == 3
    assert shared_workspace.run("auditor", "approve", shared_workspace.waiting).code == 4  # hidden from the auditor
    assert shared_workspace.run("admin", "--profile", "owner", "key", "list").code == 3


def test_unknown_object_exits_with_4(workspace: CliWorkspace, tmp_path: Path) -> None:
    assert workspace.run("developer", "show", "nowhere").code == 4
    assert workspace.run("developer", "device", "show", "nowhere").code == 4
    assert workspace.run("admin", "key", "show", "local:nowhere").code == 4
    assert workspace.run("nobody", "tasks").code == 4
    assert sealyard("--workspace", tmp_path / "nowhere", "tasks").code == 4
    assert sealyard("tasks").code == 4
    assert sealyard("profile", "use", "nowhere").code == 4


def test_wrong_or_missing_passphrase_exits_with_7(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "battery staple")
    result = run_process(*workspace.as_user("admin", "subject", "add", "anna"))
    assert (result.code, result.err.count("\n")) == (7, 2), result.err
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    result = workspace.run("admin", "subject", "add", "anna")
    assert result.code == 7
    assert all(source in result.err for source in ("SEALYARD_PASSPHRASE", "systemd credential", "terminal"))
    assert sealyard("init", "--workspace", workspace.folder.parent / "new", "--key-store", "passphrase").code == 7
    assert not (workspace.folder.parent / "new").exists()


def test_expired_result_exits_with_8_then_9(running_workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    running_workspace.value("admin", "device", "update", "gateway", "--link-ttl", "1s", "--retention", "8s")
    task = running_workspace.value("developer", "encrypt", "--device", "gateway", firmware)["id"]
    wait_until(lambda: running_workspace.value("developer", "show", task)["result"]["state"] == "EXPIRED")
    result = running_workspace.run("developer", "download", task, "--out", tmp_path / "down")
    assert result.code == 8
    assert "renew" in result.err
    assert running_workspace.value("developer", "renew", task)["result"]["state"] == "AVAILABLE"
    wait_until(lambda: running_workspace.value("developer", "show", task)["result"]["state"] == "GONE", interval=0.5)
    assert running_workspace.run("developer", "download", task, "--out", tmp_path / "down").code == 9
    assert running_workspace.run("developer", "renew", task).code == 9
    wait_until(lambda: not any(task in each for each in running_workspace.files()))


def test_rejected_task_exits_with_11(shared_workspace: CliWorkspace, firmware: Path) -> None:
    task = shared_workspace.package(firmware)["id"]
    shared_workspace.value("owner", "reject", task, "--reason", "wrong version")
    result = shared_workspace.run("developer", "wait", task, "--json")
    assert (result.code, result.value["status"]) == (11, "CANCELLED")
    assert "wrong version" in result.value["reason"]


@pytest.mark.parametrize("command", [("withdraw", "--reason", "wrong version"), ("cancel",)])
def test_withdrawn_or_cancelled_task_exits_with_12(
    shared_workspace: CliWorkspace, firmware: Path, command: tuple[str, ...]
) -> None:
    name, *options = command
    task = shared_workspace.package(firmware)["id"]
    shared_workspace.value("developer", name, task, *options)
    assert shared_workspace.run("developer", "wait", task).code == 12


def test_unexpected_error_is_logged_without_traceback(
    workspace: CliWorkspace, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setattr("sealyard.cli.commands.tasks.format_tasks", fail)
    result: CliResult = workspace.run("developer", "tasks")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert "secret detail" not in result.err
    log = next(each for each in home.rglob("cli.log"))
    assert str(log) in result.err
    assert "ZeroDivisionError" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_help_and_readme_explain_exit_codes() -> None:
    document = (Path(__file__).parents[2] / "core/sealyard/cli/README.md").read_text()
    assert list(value_of("help", "exit-codes")) == [str(code.value) for code in ExitCode]
    for code, text in value_of("help", "exit-codes").items():
        assert f"{code} " in sealyard("help", "exit-codes").out
        assert f"| {code} | {text.replace('--yes', '`--yes`')} |" in document


def test_every_option_has_help_text() -> None:
    parsers = _collect_parsers(build_parser())
    assert len(parsers) > 40
    for parser in parsers:
        for action in parser._actions:
            assert action.help or isinstance(action.choices, dict), (parser.prog, action.option_strings or action.dest)


def test_version_matches_distribution() -> None:
    result = sealyard("--version")
    assert (result.code, result.out) == (0, f"sealyard {version('sealyard')}\n")


def _collect_parsers(parser: CommandParser) -> list[CommandParser]:
    subcommands = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    return [
        parser,
        *(each for choices in subcommands for child in choices.values() for each in _collect_parsers(child)),
    ]


def test_help_exits_with_0() -> None:
    for arguments in (("--help",), ("device", "create", "--help")):
        assert sealyard(*arguments).code == 0
        assert "usage: sealyard" in sealyard(*arguments).out
