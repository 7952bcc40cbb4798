"""Test that user-facing texts avoid unidiomatic phrasings. Docstrings and comments are not checked."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PHRASES = re.compile(
    r"\b(nobody|somebody|whoever|anew|hand(s|ed)? in|is no (file|folder|duration|person|tenant|number|user|group)"
    r"|c[oa]mes? down|go(es)? on|of ours|of theirs|is told|are told|is meant|four eyes)\b",
    re.IGNORECASE,
)


def iter_user_texts(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the location and the text of every string literal that is not a docstring."""
    for path in sorted(folder.rglob("*.py")):
        tree = ast.parse(path.read_text())
        docstrings = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


@pytest.mark.parametrize("folder", ["core/sealyard", "tui/sealyard_tui"])
def test_texts_avoid_unidiomatic_phrasings(folder: str) -> None:
    violations = [f"{location}: {text!r}" for location, text in iter_user_texts(ROOT / folder) if PHRASES.search(text)]
    assert violations == []


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        *sorted(
            str(path.relative_to(ROOT)) for path in ROOT.glob("[!.]*/**/README.md") if "node_modules" not in path.parts
        ),
    ],
)
def test_documents_avoid_unidiomatic_phrasings(name: str) -> None:
    assert [match[0] for match in PHRASES.finditer((ROOT / name).read_text())] == []


def test_check_finds_a_phrasing() -> None:
    assert PHRASES.search("Nobody may hand in anything anew.")
