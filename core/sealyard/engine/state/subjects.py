"""Lookup of subjects that a request names."""

from __future__ import annotations

from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import SUBJECTS
from sealyard.model.access import Subject, SubjectState
from sealyard.model.errors import ConflictError, NotFoundError
from sealyard.model.hints import Hint, HintCode


def is_active(repository: Repository, subject: str) -> bool:
    """Return whether the subject is known and active. May be called from any thread."""
    record = repository.get(SUBJECTS, subject)
    return record is not None and record.is_active


def require_known(repository: Repository, subject: str) -> Subject:
    """Return the subject, even if it is disabled. Raises :class:`NotFoundError` if it is unknown or removed."""
    record = repository.get(SUBJECTS, subject)
    if record is None:
        raise NotFoundError(f"Subject {subject} not found.", Hint.of(HintCode.ADD_SUBJECT, subject=subject))
    if record.state is SubjectState.REMOVED:
        raise NotFoundError(f"{subject} was removed.", Hint.of(HintCode.ENABLE_SUBJECT, subject=subject))
    return record


def require_active(repository: Repository, subject: str) -> Subject:
    """Return the subject.

    Raises :class:`NotFoundError` if it is unknown or removed, and :class:`ConflictError` if it is disabled.
    """
    record = require_known(repository, subject)
    if not record.is_active:
        raise ConflictError(f"{subject} is disabled.", Hint.of(HintCode.ENABLE_SUBJECT, subject=subject))
    return record
