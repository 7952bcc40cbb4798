"""Subjects with their display names. All results are untrusted text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from sealyard.model.access import Subject, SubjectState

SubjectNames = Mapping[str, str]
"""Display names by subject. Active subjects without a display name are missing.

The name of a subject that is not active ends with its state: ``Anna Approver (removed)``.
"""

STATE_SUFFIXES = {SubjectState.DISABLED: " (disabled)", SubjectState.REMOVED: " (removed)"}

_SUBJECT_IN_TEXT = re.compile(r"\b(?:USER|GROUP|CLIENT):[A-Za-z0-9](?:[A-Za-z0-9._@+-]*[A-Za-z0-9_@+-])?")
"""A subject, without the full stop of a sentence."""


def collect_subject_names(subjects: Iterable[Subject]) -> dict[str, str]:
    """Return the display names of the given subjects."""
    names = {subject.id: _display_name(subject) for subject in subjects}
    return {subject_id: name for subject_id, name in names.items() if name}


def _display_name(subject: Subject) -> str:
    suffix = STATE_SUFFIXES.get(subject.state, "")
    return f"{subject.display_name or _short_id(subject.id)}{suffix}" if suffix else subject.display_name


def is_inactive(subject_id: str, names: SubjectNames) -> bool:
    """Return whether the subject is known to be disabled or removed."""
    return names.get(subject_id, "").endswith(tuple(STATE_SUFFIXES.values()))


def format_subject(subject_id: str, names: SubjectNames) -> str:
    """Return ``USER:anna (Anna Approver)``, or the id alone if the display name is not known.

    For a removed subject: ``USER:anna (Anna Approver) (removed)``.
    """
    name = names.get(subject_id, "")
    suffix = next((suffix for suffix in STATE_SUFFIXES.values() if name.endswith(suffix)), "")
    display_name = name.removesuffix(suffix)
    if not display_name or (suffix and display_name == _short_id(subject_id)):
        return f"{subject_id}{suffix}"
    return f"{subject_id} ({display_name}){suffix}"


def format_subject_name(subject_id: str, names: SubjectNames) -> str:
    """Return the display name, or the id if it is not known, without ``USER:``. For columns with little room."""
    return names.get(subject_id) or _short_id(subject_id)


def _short_id(subject_id: str) -> str:
    return subject_id.removeprefix("USER:")


def insert_subject_names(text: str, names: SubjectNames) -> str:
    """Replace the ids of subjects in ``text`` with their display names, if they are known."""
    return _SUBJECT_IN_TEXT.sub(lambda match: names.get(match[0]) or match[0], text)
