"""Tests of the error classes: unique codes, and conversion to and from ErrorInfo."""

from __future__ import annotations

import re

import msgspec
import pytest

from sealyard.model import errors
from sealyard.model.errors import ErrorInfo, SealyardError, StorageError, error_from_info


def list_errors(base: type[SealyardError] = SealyardError) -> list[type[SealyardError]]:
    return [base, *(each for child in base.__subclasses__() for each in list_errors(child))]


CLASSES = [each for each in list_errors() if each.__module__ == errors.__name__]


def test_error_codes_are_unique() -> None:
    codes = [each.code for each in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda each: each.__name__)
def test_error_round_trips_through_info(kind: type[SealyardError]) -> None:
    encoded = msgspec.json.encode(kind("It did not work.", "Try again.").to_info())
    decoded = error_from_info(msgspec.json.decode(encoded, type=ErrorInfo))
    assert type(decoded) is kind
    assert (decoded.message, decoded.hint) == ("It did not work.", "Try again.")
    assert str(decoded) == "It did not work. Try again."


def test_code_names_the_class_that_defined_it() -> None:
    class SpecialStorageError(StorageError):
        """Has the code of its base class."""

    assert type(error_from_info(SpecialStorageError("Full.").to_info())) is StorageError


def test_unknown_code_becomes_sealyard_error() -> None:
    decoded = error_from_info(ErrorInfo(code="unknown-code", message="What?"))
    assert type(decoded) is SealyardError
    assert str(decoded) == "What?"
