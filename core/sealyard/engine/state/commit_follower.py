"""Load the commits of the process that has the workspace open for writing, in an engine that only reads."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from sealyard.engine.state.repository import Repository
from sealyard.model.errors import SealyardError
from sealyard.model.events import DurableEvent

POLL_INTERVAL = 0.2
"""Seconds between two checks for new commits."""

log = logging.getLogger(__name__)


async def follow_commits(repository: Repository) -> None:
    """Load new commits and publish their events until cancelled.

    Retries after an error: disk errors may be temporary, and if the loop ended, event listeners would wait forever.
    Logs only the first of several errors in a row.
    """
    last_read_failed = False
    while True:
        try:
            await load_new_commits(repository)
            last_read_failed = False
        except SealyardError as error:
            if not last_read_failed:
                log.warning("could not read the writer's latest changes: %s", error)
            last_read_failed = True
        await asyncio.sleep(POLL_INTERVAL)


async def load_new_commits(repository: Repository) -> None:
    """Load what the writing process has committed since the last call, and publish its events.

    Does nothing in an engine that is open for writing.
    """
    if await asyncio.to_thread(repository.store.refresh):
        repository.invalidate()
        for event in msgspec.convert(repository.store.recent_events(), list[DurableEvent]):
            if event.cursor > repository.events.cursor:
                repository.events.publish_durable(event)
