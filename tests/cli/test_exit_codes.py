"""Each exit code, by what brings it about."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from sealyard.cli.arguments import CommandParser
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.parser import build_parser
from tests.support.cli_runner import CliResult, CliWorkspace, run_process, sealyard, value_of, wait_until


def test_0_and_nothing_on_standard_error_when_done(house: CliWorkspace) -> None:
    assert house.run("developer", "tasks").code == 0
    assert house.run("developer", "tasks").err == ""


def test_1_when_a_container_does_not_verify(house: CliWorkspace, tmp_path: Path) -> None:
    certificate, container = tmp_path / "c.pem", tmp_path / "container"
    certificate.write_text(house.run("admin", "device", "certificates", "gateway").out)
    container.write_bytes(next((house.folder / "artifacts").rglob("*" + house.done + "*")).read_bytes()[:-1])
    ran = sealyard("verify", container, "--certificate", certificate, "--json")
    assert (ran.code, ran.value["error"]["code"]) == (1, "container")


def test_1_when_the_approved_task_fails(house: CliWorkspace) -> None:
    (house.folder / "keys" / "local").rename(house.folder / "keys" / "lost")
    ran = house.run("owner", "approve", house.waiting, "--json")
    assert (ran.code, ran.value["status"]) == (1, "FAILED")
    assert ran.value["reason"] != ""


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
        ("package", "--device", "gateway", "--firmware", "a", "--sha256", "00", "00"),
        ("sign", "--device", "gateway", "--digest-base64", "*"),
        ("subject", "add", "ROBOT:r2"),
        ("subject", "add", "caf\udce9"),
        ("device", "export-key", "gateway", "--out", "key"),
        ("download",),
        ("audit", "export", "--format", "csv", "--json"),
        ("profile", "add", "a b", "--identity", "anna"),
    ],
)
def test_2_for_what_makes_no_sense(house: CliWorkspace, arguments: tuple[str, ...]) -> None:
    ran = house.run("admin", *arguments)
    assert ran.code == 2, ran
    assert ran.err.startswith("sealyard: ")
    assert "Traceback" not in ran.err


def test_3_for_what_is_not_allowed(house: CliWorkspace) -> None:
    assert house.run("developer", "audit", "list").code == 3
    assert house.run("auditor", "approve", house.waiting).code in (3, 4)
    assert house.run("admin", "--profile", "owner", "key", "list").code == 3


def test_4_for_what_is_not_there(house: CliWorkspace, tmp_path: Path) -> None:
    assert house.run("developer", "show", "nowhere").code == 4
    assert house.run("developer", "device", "show", "nowhere").code == 4
    assert house.run("nobody", "tasks").code == 4
    assert sealyard("--workspace", tmp_path / "nowhere", "tasks").code == 4
    assert sealyard("tasks").code == 4
    assert sealyard("profile", "use", "nowhere").code == 4


def test_7_without_a_passphrase_and_with_a_wrong_one(house: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "battery staple")
    wrong = run_process(*house.as_user("admin", "subject", "add", "anna"))
    assert (wrong.code, wrong.err.count("\n")) == (7, 2), wrong.err
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    locked = house.run("admin", "subject", "add", "anna")
    assert locked.code == 7
    assert all(way in locked.err for way in ("SEALYARD_PASSPHRASE", "systemd credential", "terminal"))
    assert sealyard("init", "--workspace", house.folder.parent / "new", "--key-store", "passphrase").code == 7
    assert not (house.folder.parent / "new").exists()


def test_8_when_the_link_has_expired_and_9_when_the_file_is_gone(
    house: CliWorkspace, firmware: Path, tmp_path: Path
) -> None:
    house.value("admin", "device", "update", "gateway", "--link-ttl", "1s", "--retention", "8s")
    task = house.value("developer", "encrypt", "--device", "gateway", firmware)["id"]
    wait_until(lambda: house.value("developer", "show", task)["result"]["state"] == "EXPIRED")
    expired = house.run("developer", "download", task, "--out", tmp_path / "down")
    assert expired.code == 8
    assert "renew" in expired.err
    assert house.value("developer", "renew", task)["result"]["state"] == "AVAILABLE"
    wait_until(lambda: house.value("developer", "show", task)["result"]["state"] == "GONE")
    assert house.run("developer", "download", task, "--out", tmp_path / "down").code == 9
    assert house.run("developer", "renew", task).code == 9
    assert not any(task in each for each in house.files())


def test_what_should_not_happen_gives_a_line_and_a_log_not_a_traceback(
    house: CliWorkspace, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setattr("sealyard.cli.commands.tasks.format_tasks", fail)
    ran: CliResult = house.run("developer", "tasks")
    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert "secret detail" not in ran.err
    log = next(each for each in home.rglob("cli.log"))
    assert str(log) in ran.err
    assert "ZeroDivisionError" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_help_and_documentation_explain_every_exit_code() -> None:
    document = (Path(__file__).parents[2] / "core/sealyard/cli/README.md").read_text()
    assert list(value_of("help", "exit-codes")) == [str(code.value) for code in ExitCode]
    for code, text in value_of("help", "exit-codes").items():
        assert f"{code} " in sealyard("help", "exit-codes").out
        assert f"| {code} | {text.replace('--yes', '`--yes`')} |" in document


def test_every_command_and_option_has_a_help_text() -> None:
    parsers = _parsers(build_parser())
    assert len(parsers) > 40
    for parser in parsers:
        for action in parser._actions:
            assert action.help or isinstance(action.choices, dict), (parser.prog, action.option_strings or action.dest)


def test_version_is_that_of_the_distribution() -> None:
    ran = sealyard("--version")
    assert (ran.code, ran.out) == (0, f"sealyard {version('sealyard')}\n")


def _parsers(parser: CommandParser) -> list[CommandParser]:
    below = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    return [parser, *(each for choices in below for child in choices.values() for each in _parsers(child))]


def test_help_is_no_error() -> None:
    for arguments in (("--help",), ("device", "create", "--help")):
        assert sealyard(*arguments).code == 0
        assert "usage: sealyard" in sealyard(*arguments).out
