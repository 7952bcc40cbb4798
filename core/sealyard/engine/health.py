"""Health of an open workspace: the readiness check and statistics for monitoring.

A workspace is ready if the store accepts a write, the bucket of its artifacts answers, a worker responds, and every
active key passed its last check (see :mod:`sealyard.engine.devices.key_monitor`). A certificate that expires within 30
days is a warning, and so is a key provider or a crypto zone that does not work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable

from sealyard.engine.devices.key_monitor import KeyMonitor
from sealyard.engine.devices.provider_monitor import KeyProviderMonitor
from sealyard.engine.execution.scheduler import Scheduler
from sealyard.engine.execution.zone_monitor import ZoneMonitor
from sealyard.engine.state.clock_guard import ClockGuard
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import (
    DEAD_LETTERS,
    KEY_FAILURES,
    KEYS,
    NOTIFICATION_DEAD_LETTERS,
    NOTIFICATION_OUTBOX,
    OUTBOX,
    TASKS,
)
from sealyard.engine.zone_hosts import read_zone_status
from sealyard.jobs.bus import JobBus
from sealyard.model.backend_keys import ProviderStatus
from sealyard.model.certificate_validity import certificate_warnings
from sealyard.model.errors import SealyardError
from sealyard.model.health import Health, HealthCheck, WorkspaceStats
from sealyard.model.key_checks import KeyCheck, KeyUse
from sealyard.model.key_commands import AuditPublicKey
from sealyard.model.tasks import TaskStatus
from sealyard.storage.artifacts import ArtifactStore
from sealyard.storage.documents import DocumentStore

CACHE_SECONDS = 60.0
"""How long the result of a check is reused if the workspace is ready."""

FAILURE_CACHE_SECONDS = 5.0
"""How long the result of a check is reused if the workspace is not ready.

The period is short, so that operators soon see the effect of a repair.
"""

TIMEOUT_SECONDS = 10.0
"""How long a caller waits for a health check, which continues in the background afterwards."""

PROVIDER_TIMEOUT_SECONDS = 4.0
"""How long a health check waits for the key providers; afterwards, their last states are reported."""

STORE, WORKER, CLOCK, CONFINEMENT, ANSWER = "store", "worker", "clock", "confinement", "answer"
ARTIFACTS = "artifacts"
KEY_PROVIDER = "key-provider"
ZONE = "zone"
"""Names of the health checks, in addition to ``encryption-key``, ``signing-key`` and ``audit-key``.

``ARTIFACTS`` is checked only if inputs and results are in a bucket, and ``ZONE`` only if the workspace has a crypto
zone. ``CONFINEMENT`` precedes the name of a measure that the kernel refused to the workers. ``ANSWER`` fails if the
other checks take longer than :data:`TIMEOUT_SECONDS`.
"""

log = logging.getLogger(__name__)


class HealthMonitor:
    """Checks the health of a workspace: one check at a time, shared by concurrent callers, with a cached result."""

    def __init__(
        self,
        repository: Repository,
        bus: JobBus,
        artifacts: ArtifactStore,
        clock_guard: ClockGuard,
        key_monitor: KeyMonitor,
        provider_monitor: KeyProviderMonitor,
        zone_monitor: ZoneMonitor,
    ) -> None:
        self._repository = repository
        self._key_monitor = key_monitor
        self._provider_monitor = provider_monitor
        self._zone_monitor = zone_monitor
        self._key_generation = 0
        """The generation of the results of keys in ``_last_health``."""
        self._clock_guard = clock_guard
        self._bus = bus
        self._artifacts = artifacts
        self._last_health: Health | None = None
        self._last_checked_at = 0.0
        """The monotonic time of ``_last_health``."""
        self._running_check: asyncio.Task[Health] | None = None
        self._logged_warnings: set[str] = set()

    async def health(self) -> Health:
        """Return the health of the workspace, as of at most a minute ago, with the last results of the keys.

        Waits at most ten seconds: if the check takes longer, the workspace is reported as not ready.
        """
        last_health = self._last_health
        if last_health is not None and self._key_generation == self._key_monitor.generation:
            elapsed = self._repository.clock.monotonic() - self._last_checked_at
            if elapsed < (CACHE_SECONDS if last_health.ready else FAILURE_CACHE_SECONDS):
                return last_health
        if self._running_check is None or self._running_check.done():
            self._running_check = asyncio.create_task(self._check_all())
        running_check = self._running_check
        await asyncio.wait({running_check}, timeout=TIMEOUT_SECONDS)
        return running_check.result() if running_check.done() else self._build_timeout_health()

    async def _check_all(self) -> Health:
        # Committing an empty unit of work writes and syncs a journal frame, but changes nothing that a client sees.
        checks = [await _run_check(STORE, "", self._repository.begin().commit())]
        if self._artifacts.remote is not None:
            checks.append(await _run_check(ARTIFACTS, "", asyncio.to_thread(self._artifacts.remote.check)))
        checks.append(await _run_check(WORKER, "", self._bus.request(AuditPublicKey())))
        if checks[-1].passed:
            checks += await self._check_keys()
        checks += self._list_refused_measures()
        checks.append(self._check_clock())
        health = self._last_health = self._build_health(checks)
        self._last_checked_at = self._repository.clock.monotonic()
        for check in health.failures:
            log.warning("not ready: %s %s: %s", check.name, check.subject, check.detail)
        self._log_new_warnings({check.warning for check in checks if check.warning})
        return health

    async def _check_keys(self) -> list[HealthCheck]:
        """Return the checks of the crypto zone, and of keys and their providers.

        While the zone cannot be used, tasks wait, but the workspace is ready. Keys have their last results then.
        """
        checks = []
        zone_problem = await self._zone_monitor.find_problem()
        if self._zone_monitor.settings is not None:
            checks.append(HealthCheck(name=ZONE, passed=True, warning=str(zone_problem or "")))
        if zone_problem is None:
            key_checks = await self._key_monitor.check_new_keys()
            provider_states = await self._provider_monitor.check_within(PROVIDER_TIMEOUT_SECONDS)
        else:
            key_checks, provider_states = self._key_monitor.last_checks, self._provider_monitor.states
        self._key_generation = self._key_monitor.generation
        checks += map(self._build_key_check, key_checks)
        checks += map(_build_provider_check, provider_states)
        return checks

    def _list_refused_measures(self) -> list[HealthCheck]:
        """Return a check with a warning for each measure of the workers' confinement that the kernel refused."""
        return [
            HealthCheck(
                name=f"{CONFINEMENT}-{measure.name}",
                passed=True,
                warning=f"The crypto workers run without the protection {measure.name}: {measure.reason}.",
            )
            for measure in self._bus.refused_measures
        ]

    def _check_clock(self) -> HealthCheck:
        """Check that the clock has not jumped since the engine was started. It may be ahead after a long downtime."""
        if self._clock_guard.is_trusted() or not self._clock_guard.has_jumped:
            return HealthCheck(name=CLOCK, passed=True)
        return HealthCheck(name=CLOCK, passed=False, detail=str(self._clock_guard.build_error()))

    def _log_new_warnings(self, warnings: set[str]) -> None:
        """Log each warning once, not with every check, until it disappears."""
        for warning in sorted(warnings - self._logged_warnings):
            log.warning("%s", warning)
        self._logged_warnings = warnings

    def _build_key_check(self, check: KeyCheck) -> HealthCheck:
        warning = "" if check.use is not KeyUse.SIGNING else self._certificate_warning(check)
        return HealthCheck(
            name=f"{check.use}-key",
            passed=check.passed,
            subject=f"{check.uri} version {check.version}, {check.algorithm}",
            detail=check.error,
            warning=warning,
        )

    def _certificate_warning(self, check: KeyCheck) -> str:
        info = self._repository.get(KEYS, check.uri)
        version = info.version(check.version) if info is not None else None
        if info is None or version is None:
            return ""
        return " ".join(certificate_warnings(info, version, self._repository.clock.now()))

    def _build_health(self, checks: Iterable[HealthCheck]) -> Health:
        results = tuple(checks)
        return Health(ready=all(check.passed for check in results), checks=results, at=self._repository.clock.now())

    def _build_timeout_health(self) -> Health:
        detail = f"The checks did not finish within {TIMEOUT_SECONDS:g} seconds."
        return self._build_health([HealthCheck(name=ANSWER, passed=False, detail=detail)])


async def collect_stats(
    store: DocumentStore, scheduler: Scheduler, bus: JobBus, provider_monitor: KeyProviderMonitor
) -> WorkspaceStats:
    """Return the current statistics of the workspace, counted by the store's indexes without reading any task.

    Must be called on the engine's event loop.
    """
    return WorkspaceStats(
        tasks={status: store.count(TASKS.name, {"status": status}) for status in TaskStatus},
        queued=scheduler.queue_length,
        workers=len(bus.pids),
        pending_deliveries=store.count(OUTBOX.name),
        dead_letters=store.count(DEAD_LETTERS.name),
        pending_notifications=store.count(NOTIFICATION_OUTBOX.name),
        failed_notifications=store.count(NOTIFICATION_DEAD_LETTERS.name),
        failing_keys=store.count(KEY_FAILURES.name),
        key_providers={state.section: state.error is None for state in provider_monitor.states if state.section},
        commits=store.commit_times,
        zone=await read_zone_status(bus, scheduler),
    )


def _build_provider_check(state: ProviderStatus) -> HealthCheck:
    """Return a check that has a warning if the provider does not work.

    The check of an active key fails if its provider does not work. Without such a key, the workspace is ready.
    """
    return HealthCheck(name=KEY_PROVIDER, passed=True, subject=state.section, warning=state.warning)


async def _run_check(name: str, key: str, probe: Awaitable[object]) -> HealthCheck:
    try:
        await probe
    except SealyardError as error:
        return HealthCheck(name=name, passed=False, subject=key, detail=str(error))
    return HealthCheck(name=name, passed=True, subject=key)
