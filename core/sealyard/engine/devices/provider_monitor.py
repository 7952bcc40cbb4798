"""Background checks of the key providers that are set up: the tokens and key services of the worker settings."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from sealyard.concurrency.coroutines import log_crash
from sealyard.engine.devices.external_keys import ExternalKeys
from sealyard.engine.state.repository import Repository
from sealyard.model.backend_keys import ProviderStatus
from sealyard.model.errors import KeyProviderUnavailableError, SealyardError

FIRST_CHECK_SECONDS = 10.0
"""Time in seconds between the start of the engine and the first check.

Commands end before it, so that they start no provider and log in to no token in vain.
"""

CHECK_SECONDS = 60.0
"""Time in seconds between two checks."""

log = logging.getLogger(__name__)


class KeyProviderMonitor:
    """Checks the key providers, keeps their last states, and publishes changes. Changes are not stored."""

    def __init__(self, repository: Repository, external_keys: ExternalKeys) -> None:
        self._repository = repository
        self._external_keys = external_keys
        self._running_check: asyncio.Task[None] | None = None
        self.states: tuple[ProviderStatus, ...] = ()
        """The results of the last check; empty before the first one."""

    @property
    def failures(self) -> tuple[ProviderStatus, ...]:
        return tuple(state for state in self.states if state.error is not None)

    async def run(self) -> None:
        """Check the providers at intervals until cancelled."""
        await self._repository.clock.sleep(FIRST_CHECK_SECONDS)
        while True:
            await self._check_and_log()
            await self._repository.clock.sleep(CHECK_SECONDS)

    async def check(self) -> None:
        """Check all providers now, and publish a change of the workspace if their states have changed.

        Raises :class:`SealyardError` if no worker responds, or if the change cannot be published.
        """
        states = await self._external_keys.probe_providers()
        changed_states = _list_changes(self.states, states)
        self.states = states
        for state in changed_states:
            log.warning("%s", state.warning or f"The key provider {state.section} works again.")
        if changed_states:
            unit_of_work = self._repository.begin()
            unit_of_work.notify("WORKSPACE")
            await unit_of_work.commit()

    async def check_within(self, seconds: float) -> tuple[ProviderStatus, ...]:
        """Check all providers, and return their states, or the last known ones if the check takes longer.

        The check continues in the background then.
        """
        if self._running_check is None or self._running_check.done():
            self._running_check = asyncio.create_task(self._check_and_log())
            self._running_check.add_done_callback(log_crash)
        check = self._running_check
        await asyncio.wait({check}, timeout=seconds)
        if not check.done() and not self.states:
            error = KeyProviderUnavailableError("The key providers do not answer.", "See the log of the workers.")
            return (ProviderStatus(section="", scheme="", error=error.to_info()),)
        return self.states

    async def _check_and_log(self) -> None:
        try:
            await self.check()
        except SealyardError as error:
            log.warning("could not check the key providers: %s", error)


def _list_changes(old_states: Iterable[ProviderStatus], states: Iterable[ProviderStatus]) -> list[ProviderStatus]:
    """Return the states of the providers that no longer work, work again, or fail for another reason."""
    old_errors = {state.section: state.error for state in old_states}
    return [state for state in states if state.error != old_errors.get(state.section)]
