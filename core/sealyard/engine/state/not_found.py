"""Errors for tasks and device configurations that do not exist, or that the subject may not know about."""

from __future__ import annotations

from sealyard.model.errors import NotFoundError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text


def task_not_found(task_id: str) -> NotFoundError:
    return NotFoundError(f"Task {escape_text(task_id, 80)} not found.", Hint.of(HintCode.LIST_TASKS))


def device_not_found(name: str, *, hidden: bool = False) -> NotFoundError:
    """Return the error for a missing device configuration.

    The message is the same if the configuration exists and the subject may not view it (``hidden``).
    """
    return NotFoundError(
        f"Device configuration {escape_text(name, 80)} not found.",
        Hint.of(HintCode.LIST_DEVICES),
        hidden=hidden,
    )
