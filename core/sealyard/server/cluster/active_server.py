"""The active server of a cluster, as a standby can reach it."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple, Protocol

from sealyard.server.cluster.changes import ChangeSignal
from sealyard.server.cluster.lease_watch import POLL_SECONDS, LeaseWatch

CHECK_SECONDS = 2.0
"""Interval at which a server that was reached is checked again."""

log = logging.getLogger(__name__)


class Target(NamedTuple):
    """A server that holds the lease: its URL for other servers, and the term of the lease."""

    url: str
    term: int


class Probe(Protocol):
    """Finds out whether a server is active. Returns why it is not; empty if it is."""

    async def __call__(self, target: Target) -> str: ...


class ActiveServer:
    """Watches whether the server that holds the lease can be reached and is active."""

    def __init__(self, own_url: str, watch: LeaseWatch, probe: Probe, changes: ChangeSignal) -> None:
        """``changes`` is notified when the result changes."""
        self._own_url = own_url
        self._watch = watch
        self._probe = probe
        self._changes = changes
        self._reached: Target | None = None
        self._reached_at: float | None = None
        self._reported_failure = ""

    @property
    def target(self) -> Target | None:
        """The server to which requests are forwarded; None if there is none that was reached."""
        holder = self._find_holder()
        return holder if holder is not None and holder == self._reached else None

    def was_reached_within(self, seconds: float) -> bool:
        return self._reached_at is not None and time.monotonic() < self._reached_at + seconds

    async def wait_replaced(self, target: Target) -> None:
        """Wait until another server has acquired the lease."""
        while self._watch.holder is None or self._watch.holder.term <= target.term:
            await self._changes.wait(POLL_SECONDS)

    def report_failure(self, target: Target) -> None:
        """Forward no more requests to ``target`` until it was reached again."""
        if self._reached == target:
            self._reached = None

    async def run(self) -> None:
        """Check the server that holds the lease again and again, until the task is cancelled."""
        while True:
            holder = self._find_holder()
            if holder is not None and (holder != self._reached or not self.was_reached_within(CHECK_SECONDS)):
                await self._check(holder)
            await asyncio.sleep(POLL_SECONDS)

    async def _check(self, target: Target) -> None:
        failure = await self._probe(target)
        if failure:
            self.report_failure(target)
        else:
            self._reached, self._reached_at = target, time.monotonic()
            self._changes.notify()
        self._report(target, failure)

    def _report(self, target: Target, failure: str) -> None:
        """Log a failure once."""
        if failure and failure != self._reported_failure:
            log.info("the server %s does not answer requests: %s", target.url, failure)
        self._reported_failure = failure

    def _find_holder(self) -> Target | None:
        holder = self._watch.holder
        if holder is None or self._watch.remaining_seconds < 0 or holder.url in ("", self._own_url):
            return None
        return Target(holder.url, holder.term)
