"""Below the front ends, no text names a command of the command line: hints have codes instead."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.texts.test_phrasings import ROOT, iter_user_texts

CORE = ROOT / "core" / "sealyard"
FOLDERS = sorted({path.parent.name for path in CORE.glob("*/*.py")} - {"cli"})

COMMAND_LINE = re.compile(r"\bsealyard [a-z]|(?<![\w-])--[a-z]")
CONTEXTS = {"sealyard keyring 1", "sealyard approval v1", "sealyard build secret 1"}
"""Contexts of keys and signatures, which are not shown to users."""

MESSAGES = ("core/sealyard/engine/notifications/text.py",)
"""Files whose texts are sent to people who read them in another program, and need to know the command."""


def find_texts_with_commands(folder: Path) -> list[str]:
    return [
        f"{location}: {text!r}"
        for location, text in iter_user_texts(folder)
        if COMMAND_LINE.search(text) and text not in CONTEXTS and not location.startswith(MESSAGES)
    ]


def iter_hint_comparisons(folder: Path) -> Iterator[str]:
    """Yield the locations where code compares or searches the text of a hint."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(
                isinstance(operand, ast.Attribute) and operand.attr == "hint"
                for operand in (node.left, *node.comparators)
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_folders_are_those_of_the_core() -> None:
    assert {"model", "engine", "audit", "keys", "containers", "storage", "worker", "crypto"} <= set(FOLDERS)
    assert {"client", "jobs", "fs", "server", "concurrency"} <= set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_core_names_no_commands(folder: str) -> None:
    assert find_texts_with_commands(CORE / folder) == []


@pytest.mark.parametrize("folder", [CORE, ROOT / "tui" / "sealyard_tui"], ids=["core", "application"])
def test_code_does_not_match_the_texts_of_hints(folder: Path) -> None:
    assert list(iter_hint_comparisons(folder)) == []


@pytest.mark.parametrize(
    "source",
    [
        'raise NotFoundError("No.", "List tasks with `sealyard tasks`.")',
        'raise NotFoundError("No.", f"Renew it: sealyard renew {task_id}")',
        'raise UsageError("No.", f"Confirm {name} (--yes).")',
    ],
)
def test_check_finds_a_command(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.texts.test_phrasings.ROOT", tmp_path)
    (tmp_path / "module.py").write_text(source)
    assert len(find_texts_with_commands(tmp_path)) == 1


def test_check_finds_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "module.py").write_text('if "renew" in error.hint: pass')
    assert list(iter_hint_comparisons(tmp_path)) == ["module.py:1"]


@pytest.mark.parametrize("text", ["Set sealyard.toml.", "a -- b", "Stop the remaining sealyard.worker process."])
def test_check_accepts_other_texts(text: str) -> None:
    assert not COMMAND_LINE.search(text)
