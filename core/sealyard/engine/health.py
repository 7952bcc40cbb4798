"""Readiness: the store takes a write, a worker answers, and every key in use has just been used on a probe."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from datetime import timedelta

import msgspec

from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import DEVICES, KEYS
from sealyard.jobs.bus import JobBus
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.errors import NotFoundError, SealyardError
from sealyard.model.health import Health, HealthCheck
from sealyard.model.worker_messages import AuditPublicKey, ProbeEncryptionKey, ProbeSigningKey

CACHE_SECONDS = timedelta(seconds=60)
"""How long an answer holds."""

FAILURE_CACHE_SECONDS = timedelta(seconds=5)
"""How long a bad one holds: whoever has mended something wants to see it."""

TIMEOUT_SECONDS = 10.0
"""After which an asker is answered, while the check goes on."""

STORE, WORKER, ENCRYPTION_KEY, SIGNING_KEY, ANSWER = "store", "worker", "encryption-key", "signing-key", "answer"
"""The names of checks."""

log = logging.getLogger(__name__)


class HealthMonitor:
    """One check at a time, shared by all who ask meanwhile, and remembered for a while."""

    def __init__(self, ledger: Repository, bus: JobBus) -> None:
        self._ledger = ledger
        self._bus = bus
        self._last: Health | None = None
        self._checking: asyncio.Task[Health] | None = None

    async def health(self) -> Health:
        """At most a minute old. Answers within ten seconds: what has not answered by then is not ready."""
        if self._last is not None and self._ledger.clock.now() < self._last.at + _period(self._last):
            return self._last
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check())
        checking = self._checking
        await asyncio.wait({checking}, timeout=TIMEOUT_SECONDS)
        return checking.result() if checking.done() else self._timed_out()

    async def _check(self) -> Health:
        # An empty unit of work: a frame and a sync like any other, with nothing in it that anybody sees.
        checks = [await _run_check(STORE, "", self._ledger.begin().commit())]
        checks.append(await _run_check(WORKER, "", self._bus.request(AuditPublicKey())))
        if checks[-1].passed:
            checks += [await self._probe_key(key) for key in self._keys_in_use()]
        self._last = self._health(checks)
        for each in self._last.failures:
            log.warning("not ready: %s %s: %s", each.name, each.subject, each.detail)
        return self._last

    def _keys_in_use(self) -> tuple[EncryptionKey | SigningKey, ...]:
        """By the newest version of each configuration; each key once, however many configurations share it."""
        keys: dict[EncryptionKey | SigningKey, None] = {}
        for device in self._ledger.list_all(DEVICES):
            for key in (device.encryption, device.signing):
                keys[msgspec.structs.replace(key, description="")] = None
        return tuple(keys)

    async def _probe_key(self, key: EncryptionKey | SigningKey) -> HealthCheck:
        about = f"{key.uri} version {key.version}, {key.algorithm}"
        if isinstance(key, EncryptionKey):
            return await _run_check(ENCRYPTION_KEY, about, self._bus.request(ProbeEncryptionKey(key=key)))
        return await _run_check(SIGNING_KEY, about, self._probe_signing_key(key))

    async def _probe_signing_key(self, key: SigningKey) -> None:
        known = self._ledger.get(KEYS, key.uri)
        version = known.version(key.version) if known is not None else None
        if version is None or version.certificate is None:
            raise NotFoundError("There is no certificate of the key on record.", "Rotate the key.")
        await self._bus.request(ProbeSigningKey(key=key, certificate=version.certificate))

    def _health(self, checks: Iterable[HealthCheck]) -> Health:
        made = tuple(checks)
        return Health(ready=all(each.passed for each in made), checks=made, at=self._ledger.clock.now())

    def _timed_out(self) -> Health:
        late = f"What is being tried has not answered within {TIMEOUT_SECONDS:g} seconds."
        return self._health([HealthCheck(name=ANSWER, passed=False, detail=late)])


def _period(health: Health) -> timedelta:
    return CACHE_SECONDS if health.ready else FAILURE_CACHE_SECONDS


async def _run_check(name: str, about: str, trial: Awaitable[object]) -> HealthCheck:
    try:
        await trial
    except SealyardError as error:
        return HealthCheck(name=name, passed=False, subject=about, detail=str(error))
    return HealthCheck(name=name, passed=True, subject=about)
