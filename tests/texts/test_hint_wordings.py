"""The wordings of hints: every front end has one for every code, and names only what it has."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Formatter

import pytest

import sealyard.cli.hints
import sealyard.server.http.hints
import sealyard_tui.session.hints
from sealyard.cli.parser import build_parser
from sealyard.model.hints import NEUTRAL_TEXTS, HintCode

TABLES: dict[str, Mapping[str, str]] = {
    "cli": sealyard.cli.hints.WORDINGS,
    "api": sealyard.server.http.hints.WORDINGS,
    "tui": sealyard_tui.session.hints.WORDINGS,
}
OPENAPI = Path(sealyard.server.http.hints.__file__).parents[1] / "openapi.json"
COMMAND = re.compile(r"sealyard ((?:[a-z][a-z-]* ?)+)")
OPTION = re.compile(r"--[a-z-]+")
REQUEST = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/\S+?)[.,]?(?=\s|$)")


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def subparsers(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return actions[0].choices if actions else {}


def all_options(parser: argparse.ArgumentParser) -> set[str]:
    own = {option for action in parser._actions for option in action.option_strings}
    return own.union(*(all_options(each) for each in subparsers(parser).values()))


PARSER = build_parser()
ALL_OPTIONS = all_options(PARSER)


def find_command(words: str) -> argparse.ArgumentParser:
    """Return the parser of the command that ``words`` start with."""
    parser: argparse.ArgumentParser = PARSER
    for word in words.split():
        if word not in subparsers(parser):
            break
        parser = subparsers(parser)[word]
    return parser


def wordings(front_end: str) -> list[str]:
    return [text for text in TABLES[front_end].values() if text]


@pytest.mark.parametrize("front_end", TABLES)
@pytest.mark.parametrize("code", HintCode)
def test_every_code_has_a_wording(front_end: str, code: HintCode) -> None:
    text = TABLES[front_end][code]
    arguments = {field for field in fields(text) if not field.startswith("key[")}
    assert arguments <= fields(NEUTRAL_TEXTS[code])
    assert text or front_end == "api"


@pytest.mark.parametrize("front_end", TABLES)
def test_tables_have_known_codes_only(front_end: str) -> None:
    assert set(TABLES[front_end]) == set(HintCode)


@pytest.mark.parametrize("text", [*wordings("cli"), *wordings("tui")])
def test_commands_and_options_exist(text: str) -> None:
    for words in COMMAND.findall(text):
        parser = find_command(words)
        assert parser.prog != "sealyard"
        assert not subparsers(parser), f"'{words}' names a group of commands"
    assert set(OPTION.findall(text)) <= ALL_OPTIONS


def test_check_of_commands_finds_an_unknown_one() -> None:
    assert find_command("fly away").prog == "sealyard"
    assert subparsers(find_command("subject"))
    assert "--fly" not in ALL_OPTIONS


@pytest.mark.parametrize("text", wordings("api"))
def test_requests_are_in_the_openapi_document(text: str) -> None:
    paths = json.loads(OPENAPI.read_text())["paths"]
    for method, path in REQUEST.findall(text.replace("{{", "{").replace("}}", "}")):
        assert method.lower() in paths[path]
    assert not COMMAND.search(text)
    assert not OPTION.search(text)
