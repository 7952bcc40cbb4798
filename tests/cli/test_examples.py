"""Test that the examples in the help are valid commands."""

from __future__ import annotations

import argparse
import shlex

import pytest

from sealyard.cli.examples import EXAMPLES
from sealyard.cli.parser import build_parser, iterate_parsers, parse_arguments
from tests.support.cli_runner import sealyard

PARSERS = dict(iterate_parsers(build_parser()))
GLOBAL_OPTIONS = {"help", "version", "workspace", "profile", "json"}


def _has_own_options(parser: argparse.ArgumentParser) -> bool:
    return any(action.option_strings and action.dest not in GLOBAL_OPTIONS for action in parser._actions)


def test_every_command_with_options_has_examples() -> None:
    assert {name for name, parser in PARSERS.items() if _has_own_options(parser)} <= set(EXAMPLES)


@pytest.mark.parametrize("command", EXAMPLES)
def test_examples_are_accepted_by_parser(command: str) -> None:
    for example in EXAMPLES[command]:
        words = shlex.split(example)
        program, *arguments = words[: _find_redirection(words)]
        assert program == "sealyard"
        assert arguments[: len(command.split())] == command.split()
        parse_arguments(arguments)


def _find_redirection(words: list[str]) -> int:
    return next((index for index, word in enumerate(words) if word in ("<", ">", "|")), len(words))


@pytest.mark.parametrize("command", EXAMPLES)
def test_help_shows_examples(command: str) -> None:
    result = sealyard(*command.split(), "--help")
    assert result.code == 0
    assert all(f"\n  {example}\n" in result.out for example in EXAMPLES[command])
