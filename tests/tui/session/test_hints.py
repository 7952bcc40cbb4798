"""Nobody in the application is sent to the command line for what a key does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import sealyard
from sealyard.model import errors
from sealyard.model.errors import ErrorInfo, ResultExpiredError, SealyardError, UsageError
from sealyard_tui.session.hints import app_hint, error_text

COMMAND_LINE = re.compile(r"sealyard [a-z]|--[a-z]")
OUTSIDE = tuple(f"sealyard {each}" for each in ("init", "demo", "otp", "token", "webhook", "approve", "subject unlink"))
"""What is done where there is no workspace, or for another one, or on the command line alone."""

CORE = Path(sealyard.__file__).parent
HEARD_FROM = ("engine", "audit", "keys", "containers", "storage", "worker", "crypto")
"""Parts of the core whose errors reach a person while the application runs."""


def written(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(written(each) if isinstance(each, ast.Constant) else "x1" for each in node.values)
    return ""


def advised() -> Iterator[tuple[str, str]]:
    """The class of the error and its advice, wherever the core makes one that names the command line."""
    files = [each for part in HEARD_FROM for each in (CORE / part).rglob("*.py")]
    for file in [*files, CORE / "client" / "downloads" / "downloader.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.endswith("Error"):
                for advice in map(written, node.args[1:]):
                    if COMMAND_LINE.search(advice) and not any(each in advice for each in OUTSIDE):
                        yield node.func.id, advice


@pytest.mark.parametrize(("family", "advice"), sorted(set(advised())))
def test_advice_of_the_core_that_names_the_command_line_is_said_in_words_of_the_application(
    family: str, advice: str
) -> None:
    error = getattr(errors, family)("It did not work.", advice)
    assert not COMMAND_LINE.search(app_hint(error))
    assert app_hint(error)


def test_an_expired_link_is_renewed_by_a_key_whoever_tells_of_it() -> None:
    error = ResultExpiredError("The link has expired.", "Renew it: sealyard renew abc")
    assert "e on the dashboard" in app_hint(error)
    assert app_hint(error.to_info()) == app_hint(error)
    assert error_text(error) == "The link has expired. Press e on the dashboard to renew the link."


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (UsageError("A reason is needed.", "Say why in a few words (--reason)."), "Say why in a few words."),
        (SealyardError("It broke.", "Look at the log."), "Look at the log."),
        (ErrorInfo(code="conflict", message="It was decided."), ""),
    ],
)
def test_what_is_no_command_stays_as_it_was_said(error: SealyardError | ErrorInfo, advice: str) -> None:
    assert app_hint(error) == advice
