"""Errors for tasks and device configurations that do not exist, or that the subject may not know about."""

from __future__ import annotations

from sealyard.model.errors import NotFoundError
from sealyard.model.safe_text import escape_text


def task_not_found(task_id: str) -> NotFoundError:
    return NotFoundError(f"There is no task {escape_text(task_id, 80)}.", "`sealyard tasks` lists those there are.")


def device_not_found(name: str, *, hidden: bool = False) -> NotFoundError:
    """Return the error for a missing device configuration.

    The message is the same if the configuration exists and the subject may not view it (``hidden``).
    """
    return NotFoundError(
        f"There is no device configuration {escape_text(name, 80)}.",
        "`sealyard device list` names those there are.",
        hidden=hidden,
    )
