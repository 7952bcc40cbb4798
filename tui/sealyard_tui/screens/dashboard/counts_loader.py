"""Loader for the task counts and the first steps on the dashboard."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sealyard.client.protocol import Client
from sealyard.model.requests import TaskCounts
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.screens.dashboard.first_steps import FirstStepsPane


class CountsLoader:
    """Loads the counts and the first steps one at a time, so that an older answer never replaces a newer one.

    ``on_change`` is called when the counts have changed.
    """

    def __init__(self, screen: BaseScreen, on_change: Callable[[TaskCounts], None]) -> None:
        self.counts: TaskCounts | None = None
        """The counts of the tasks that the user may view; None if they have not been loaded."""
        self._screen = screen
        self._on_change = on_change
        self._lock = asyncio.Lock()

    def reset(self) -> None:
        """Forget the counts, and the answers to requests of the previous identity, which may still be running."""
        self.counts = None
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        async with (lock := self._lock):
            client = await self._screen.client()
            counts = await client.counts()
            if lock is not self._lock:
                return
            self.counts = counts
            self._on_change(counts)
            await self._load_first_steps(client, counts)

    async def reload_first_steps(self) -> None:
        """Load the first steps for the current session state, unless the counts have not been loaded."""
        async with self._lock:
            if self.counts is not None:
                await self._load_first_steps(await self._screen.client(), self.counts)

    async def _load_first_steps(self, client: Client, counts: TaskCounts) -> None:
        state = self._screen.state
        is_hidden = self._screen.app.appearance.hides_first_steps(state.workspace_id)
        await self._screen.query_one(FirstStepsPane).load(client, state, counts, is_hidden=is_hidden)
