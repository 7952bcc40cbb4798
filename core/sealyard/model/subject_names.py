"""Subjects with their display names. All results are untrusted text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sealyard.model.access import Subject

SubjectNames = Mapping[str, str]
"""Display names by subject; subjects without a display name are missing."""

_SUBJECT_IN_TEXT = re.compile(r"\b(?:USER|GROUP|CLIENT):[A-Za-z0-9](?:[A-Za-z0-9._@+-]*[A-Za-z0-9_@+-])?")
"""A subject, without the full stop of a sentence."""


def collect_subject_names(subjects: Iterable[Subject]) -> dict[str, str]:
    return {subject.id: subject.display_name for subject in subjects if subject.display_name}


def format_subject(subject_id: str, names: SubjectNames) -> str:
    """Return ``USER:anna (Anna Approver)``, or the id alone if the display name is not known."""
    name = names.get(subject_id)
    return f"{subject_id} ({name})" if name else subject_id


def format_subject_name(subject_id: str, names: SubjectNames) -> str:
    """Return the display name, or the id if it is not known, without ``USER:``. For columns with little room."""
    return names.get(subject_id) or subject_id.removeprefix("USER:")


def insert_subject_names(text: str, names: SubjectNames) -> str:
    """Replace the ids of subjects in ``text`` with their display names, if they are known."""
    return _SUBJECT_IN_TEXT.sub(lambda match: names.get(match[0]) or match[0], text)
