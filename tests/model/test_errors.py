"""Errors are one family: each with a code of its own, the same on both sides of a border."""

from __future__ import annotations

import re

import msgspec
import pytest

from sealyard.model import errors
from sealyard.model.errors import ErrorInfo, SealyardError, error_from_info


def family(base: type[SealyardError] = SealyardError) -> list[type[SealyardError]]:
    return [base, *(each for child in base.__subclasses__() for each in family(child))]


CLASSES = [each for each in family() if each.__module__ == errors.__name__]


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [each.code for each in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda each: each.__name__)
def test_an_error_crosses_a_border_unchanged(kind: type[SealyardError]) -> None:
    sent = msgspec.json.encode(kind("It did not work.", "Try again.").to_info())
    arrived = error_from_info(msgspec.json.decode(sent, type=ErrorInfo))
    assert type(arrived) is kind
    assert (arrived.message, arrived.hint) == ("It did not work.", "Try again.")
    assert str(arrived) == "It did not work. Try again."


def test_an_unknown_code_is_still_an_error_of_ours() -> None:
    arrived = error_from_info(ErrorInfo(code="from-the-future", message="What?"))
    assert type(arrived) is SealyardError
    assert str(arrived) == "What?"
