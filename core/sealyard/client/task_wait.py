"""Limit the time that a client waits for a task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from sealyard.model.errors import WaitTimeoutError
from sealyard.model.formatting import format_seconds
from sealyard.model.hints import Hint, HintCode
from sealyard.model.tasks import Task


async def wait_within(seconds: float | None, task_id: str, final_task: Awaitable[Task]) -> Task:
    """Await ``final_task``. Raises :class:`WaitTimeoutError` after ``seconds``; None waits without a limit."""
    try:
        async with asyncio.timeout(seconds):
            return await final_task
    except TimeoutError:
        raise WaitTimeoutError(
            f"Task {task_id} did not finish within {format_seconds(seconds or 0)}.",
            Hint.of(HintCode.SHOW_TASK, task_id=task_id),
        ) from None
