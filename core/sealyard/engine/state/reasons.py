"""Validation of the reasons that people give for requests, decisions and changes."""

from __future__ import annotations

from sealyard.model.errors import UsageError
from sealyard.model.hints import Hint, HintCode

MAX_REASON_LENGTH = 2000
MAX_JUSTIFICATION_LENGTH = 2000


def validate_reason(reason: str, *, required: bool) -> str:
    """Return ``reason`` without surrounding space. Raises :class:`UsageError` if it is missing or too long."""
    reason = reason.strip()
    if required and not reason:
        raise UsageError("A reason is required.", Hint.of(HintCode.GIVE_REASON))
    if len(reason) > MAX_REASON_LENGTH:
        raise UsageError(f"A reason can have at most {MAX_REASON_LENGTH} characters.", "Shorten the reason.")
    return reason


def validate_justification(justification: str) -> str:
    """Return the justification without surrounding space. Raises :class:`UsageError` if it is too long."""
    justification = justification.strip()
    if len(justification) > MAX_JUSTIFICATION_LENGTH:
        raise UsageError(
            f"A justification can have at most {MAX_JUSTIFICATION_LENGTH} characters.", "Shorten the justification."
        )
    return justification
