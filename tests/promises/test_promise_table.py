"""Test that the tables of promises and attacks are complete, and name tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
TEXT = Path(__file__).with_name("README.md").read_text()
PROMISES, ATTACKS = re.split(r"^## (?:Promises|Attacks)$", TEXT, flags=re.MULTILINE)[1:]
NUMBERS = [str(number) for number in range(1, 41)]
REVIEWED_ATTACKS = [
    *"E1 E2 E4 E6 E7 E8 E9 E11 E12 E13 E14 f1 f2 f3 f6 f7 f8 f9 f11 f12 f13 b8 b9 S5 S10".split(),  # noqa: SIM905
    *(f"z{number}" for number in range(1, 12)),
]
REFERENCE = re.compile(r"`([\w/]+\.py)::(\w+)`")


def read_rows(table: str) -> list[list[str]]:
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")]
    return rows[2:]


@cache
def read_test_names(path: str) -> set[str]:
    tree = ast.parse((TESTS / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_promise_has_one_row() -> None:
    assert [row[0] for row in read_rows(PROMISES)] == NUMBERS


def test_each_attack_has_one_row() -> None:
    assert [row[0] for row in read_rows(ATTACKS)] == REVIEWED_ATTACKS


@pytest.mark.parametrize(("path", "name"), sorted(set(REFERENCE.findall(TEXT))))
def test_named_test_exists(path: str, name: str) -> None:
    assert name in read_test_names(path)


def test_each_kept_promise_and_failed_attack_has_a_test() -> None:
    for row in read_rows(PROMISES) + read_rows(ATTACKS):
        *_, verdict, evidence = row
        assert verdict in ("kept", "partly", "not kept", "fails", "open"), row
        if verdict in ("kept", "partly", "fails"):
            assert REFERENCE.search(evidence), row
