"""Subjects with their display names, as shown by the screens that can read the access control list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sealyard.model.access import Subject

SubjectNames = Mapping[str, str]
"""Display names by subject id; subjects without a display name are missing."""


def collect_subject_names(subjects: Iterable[Subject]) -> dict[str, str]:
    return {subject.id: subject.display_name for subject in subjects if subject.display_name}


def format_subject(subject_id: str, names: SubjectNames) -> str:
    """Return ``USER:anna (Anna Approver)``, or the id alone if the display name is not known. Untrusted text."""
    name = names.get(subject_id)
    return f"{subject_id} ({name})" if name else subject_id
