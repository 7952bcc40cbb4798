"""Subjects with their display names."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sealyard.model.access import Subject, SubjectState
from sealyard.model.subject_names import (
    collect_subject_names,
    format_subject,
    format_subject_name,
    insert_subject_names,
)

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
    ("display_name", "state", "full", "short"),
    [
        ("Anna Approver", SubjectState.ACTIVE, "USER:anna (Anna Approver)", "Anna Approver"),
        ("", SubjectState.ACTIVE, "USER:anna", "anna"),
        ("anna", SubjectState.ACTIVE, "USER:anna (anna)", "anna"),
        (
            "Anna Approver",
            SubjectState.REMOVED,
            "USER:anna (Anna Approver) (removed)",
            "Anna Approver (removed)",
        ),
        ("", SubjectState.REMOVED, "USER:anna (removed)", "anna (removed)"),
        ("", SubjectState.DISABLED, "USER:anna (disabled)", "anna (disabled)"),
    ],
)
def test_state_of_subject_is_shown_with_its_name(display_name: str, state: SubjectState, full: str, short: str) -> None:
    created_at = datetime(2026, 11, 23, tzinfo=UTC)
    subject = Subject(
        id="USER:anna", created_by="USER:admin", created_at=created_at, display_name=display_name, state=state
    )
    names = collect_subject_names([subject])
    assert format_subject("USER:anna", names) == full
    assert format_subject_name("USER:anna", names) == short


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
