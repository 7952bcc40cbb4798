"""Tests of the argument parsers: only those of the requested command are built, with the results of all."""

from __future__ import annotations

import pytest

from sealyard.cli import parser
from sealyard.cli.arguments import CommandParser
from sealyard.cli.parser import COMMANDS, build_parser, iterate_parsers, parse_arguments
from sealyard.model.errors import UsageError


@pytest.mark.parametrize("module", COMMANDS)
def test_module_adds_the_listed_commands(module: str) -> None:
    names = [name for name, _ in iterate_parsers(build_parser([module]))]
    assert {name.split()[0] for name in names if name} == {*COMMANDS[module], "completion"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["tasks", "--json"],
        ["--workspace", "tasks"],
        ["--workspace", "device", "tasks"],
        ["--profile", "tasks", "device", "list"],
        ["device", "show", "key"],
    ],
)
def test_arguments_are_parsed_as_by_all_parsers(arguments: list[str]) -> None:
    assert vars(parse_arguments(arguments)) == vars(build_parser().parse_args(arguments))


def test_parsers_of_other_commands_are_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    built = list[tuple[str, ...]]()

    def record(modules: tuple[str, ...] = tuple(COMMANDS)) -> CommandParser:
        built.append(tuple(modules))
        return build_parser(modules)

    monkeypatch.setattr(parser, "build_parser", record)
    parse_arguments(["tasks"])
    assert built == [("tasks",)]


@pytest.mark.parametrize("arguments", [["frobnicate"], ["frobnicate", "tasks"], ["--workspace", "tasks", "frobnicate"]])
def test_error_lists_all_commands(arguments: list[str]) -> None:
    with pytest.raises(UsageError) as raised:
        parse_arguments(arguments)
    with pytest.raises(UsageError) as expected:
        build_parser().parse_args(arguments)
    assert str(raised.value) == str(expected.value)


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["-h", "tasks"], ["--workspace", "tasks", "--help"]):
        with pytest.raises(SystemExit):
            parse_arguments(arguments)
        text = capsys.readouterr().out
        for names in COMMANDS.values():
            assert set(names) <= set(text.split()), arguments
