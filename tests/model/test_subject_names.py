"""Subjects with their display names."""

from __future__ import annotations

import pytest

from sealyard.model.subject_names import format_subject, format_subject_name, insert_subject_names

NAMES = {"USER:anna": "Anna Approver", "GROUP:owners": "Owners"}


@pytest.mark.parametrize(
    ("subject", "full", "short"),
    [
        ("USER:anna", "USER:anna (Anna Approver)", "Anna Approver"),
        ("USER:dev", "USER:dev", "dev"),
        ("GROUP:owners", "GROUP:owners (Owners)", "Owners"),
        ("CLIENT:ci", "CLIENT:ci", "CLIENT:ci"),
    ],
)
def test_subjects_are_formatted_with_known_names(subject: str, full: str, short: str) -> None:
    assert format_subject(subject, NAMES) == full
    assert format_subject_name(subject, NAMES) == short


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rejected by USER:anna: too old", "rejected by Anna Approver: too old"),
        ("Added USER:anna to GROUP:owners.", "Added Anna Approver to Owners."),
        ("USER:anna.b and USER:annabel", "USER:anna.b and USER:annabel"),
        ("no subject", "no subject"),
    ],
)
def test_ids_in_texts_are_replaced_with_names(text: str, expected: str) -> None:
    assert insert_subject_names(text, NAMES) == expected
