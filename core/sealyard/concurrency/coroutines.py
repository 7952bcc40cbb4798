"""Helpers for coroutines and tasks of an event loop."""

from __future__ import annotations

import asyncio
import logging

log = logging.getLogger(__name__)


def log_crash(loop: asyncio.Task[None]) -> None:
    """Log the exception of a background task that should run until it is cancelled."""
    if not loop.cancelled() and (error := loop.exception()) is not None:
        log.critical("a background task of the engine stopped unexpectedly", exc_info=error)


def close_unawaited(awaitable: object) -> None:
    """Close a coroutine that was rejected before it was awaited, to avoid a "never awaited" warning."""
    if asyncio.iscoroutine(awaitable):
        awaitable.close()
