"""Texts of the application take the keys that they name from the key map in force."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard_tui.action_keys import DEFAULT_KEYS
from sealyard_tui.app import keymap_classes
from sealyard_tui.appearance.keymap import bindings_of
from tests.texts.test_phrasings import ROOT

TUI = ROOT / "tui" / "sealyard_tui"

NAMED_ACTION = re.compile(r"""(?:\bkey\[|[Kk]eys(?:\(\))?\[["']|action_key\([\w.]+, ["'])([a-z_]+\.[a-z_]+)""")
LITERAL_KEY = re.compile(
    r"\b[Pp]ress (?!\{|the\b)\S"
    r"|\((?:[A-Za-z?/+!]|(?:ctrl|alt|shift)\+\w+|esc|enter|tab|space|f\d+|\^\w)[:)]"
    r"|\b[1-6] (?:Dashboard|Upload|Approvals|Audit|Devices|Access)\b"
    r"|\b(?:Esc|Enter|Tab|Space|[Cc]trl\+\w)(?::| to | completes| marks)"
    r"|[←→↑↓]\S*: "
)
PATTERN = re.compile(r"\(\?[P:]|\(\\\\")
"""Finds regular expressions, which are not shown to users."""

TEXTS_WITH_FIXED_KEYS = {"paths (Enter: add, {key[path.complete]}: complete)", "a path; press Enter to open it"}
"""Texts with keys of text inputs, which the key map cannot change."""


COMPOSED_ACTIONS = {
    *(
        f"app.{name}"
        for name in ("dashboard", "upload", "approvals", "audit", "devices", "access", "quit", "force_quit")
    ),
    *(f"approvals.{name}" for name in ("approve", "reject")),
    *(f"dashboard.{name}" for name in ("withdraw", "cancel", "renew")),
}
"""Actions whose ids the application composes of a scope and a name, so that :data:`NAMED_ACTION` does not find them."""


def iter_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield location and text of each string, without docstrings and bindings; ``{}`` are the values of f-strings."""
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text())
        skipped = {
            id(node)
            for parent in ast.walk(tree)
            if isinstance(parent, ast.Expr)
            or (isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name) and parent.func.id == "Binding")
            for node in ast.walk(parent)
            if isinstance(parent, ast.Call) or node is getattr(parent, "value", None)
            if isinstance(node, ast.Constant | ast.JoinedStr)
        }
        for node in ast.walk(tree):
            if id(node) in skipped:
                continue
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
                skipped |= {id(part) for part in node.values}
                yield f"{path.name}:{node.lineno}", text
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.name}:{node.lineno}", node.value


def find_literal_keys(folder: Path) -> list[str]:
    return [
        f"{location}: {text!r}"
        for location, text in iter_texts(folder)
        if LITERAL_KEY.search(text) and text not in TEXTS_WITH_FIXED_KEYS and not PATTERN.search(text)
    ]


def named_actions() -> set[str]:
    return {action for path in TUI.rglob("*.py") for action in NAMED_ACTION.findall(path.read_text())}


def test_default_keys_are_those_of_the_bindings() -> None:
    bindings = bindings_of(keymap_classes())
    assert {action: bindings[action][0] for action in DEFAULT_KEYS} == DEFAULT_KEYS


def test_texts_name_actions_with_default_keys() -> None:
    assert named_actions() | COMPOSED_ACTIONS == set(DEFAULT_KEYS)


def test_texts_contain_no_literal_keys() -> None:
    assert find_literal_keys(TUI) == []


@pytest.mark.parametrize(
    "source",
    [
        '"No tasks yet. Press n to create one."',
        'f"{name}: press n to create one."',
        '"Back (esc)"',
        '"Submit (ctrl+s)"',
        '"Upload it again (u)."',
        '"Created task (o: open)"',
        '"+ under 6 Access"',
        '"Enter: choose from list"',
        '"Tab completes"',
        '"←/→: change"',
    ],
)
def test_check_finds_a_literal_key(source: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(f"text = {source}")
    assert len(find_literal_keys(tmp_path)) == 1


@pytest.mark.parametrize(
    "source",
    [
        'text = "Press {key[app.quit]} to quit."',
        "text = f\"Back ({keys['dialog.back']})\"",
        'text = "Enter a reason."',
        '"""Press n."""',
        'Binding("n", "new", "press n")',
    ],
)
def test_check_accepts_other_texts(source: str, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(source)
    assert find_literal_keys(tmp_path) == []
