"""Background checks of all active keys: each key signs or encrypts a probe at intervals.

Active keys are the keys of the newest version of each device configuration, and the audit key. A signing key also
fails its check if a certificate of its chain is not valid now. A failure and the recovery from it are committed once,
with an audit entry and an event. Failures are stored, so that neither later checks nor a restart repeat them. The
expiry of certificates is checked at the same times.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from sealyard.audit.source import AuditSource
from sealyard.engine.devices.certificate_monitor import CertificateMonitor
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import DEVICES, KEY_FAILURES, KEYS
from sealyard.jobs.bus import JobBus
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.audit import AuditAction
from sealyard.model.certificate_validity import find_certificate_error
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.errors import InvalidKeyError, NotFoundError, SealyardError, WorkerError, ZoneUnavailableError
from sealyard.model.key_checks import KeyCheck, KeyUse
from sealyard.model.key_commands import ProbeAuditKey, ProbeEncryptionKey, ProbeSigningKey

CHECK_INTERVAL = 600.0
"""Default number of seconds between two checks of the same key."""

RETRY_SECONDS = 60.0
"""Maximum number of seconds after which a key that has failed is checked again."""

MAX_SLEEP_FRACTION = 0.1
"""Part of the interval after which new keys are noticed at the latest."""

AUDIT_KEY = KeyCheck(use=KeyUse.AUDIT, uri="audit", version=1, algorithm=SigningAlgorithm.ED25519)

log = logging.getLogger(__name__)


class _ActiveKey(NamedTuple):
    """A key to check: its identity, and the key of a configuration, which is None for the audit key."""

    check: KeyCheck
    key: EncryptionKey | SigningKey | None


class KeyMonitor:
    """Checks the active keys, one at a time, and keeps the last result of each."""

    def __init__(self, repository: Repository, bus: JobBus, audit: AuditSource) -> None:
        self._repository = repository
        self._bus = bus
        self._audit = audit
        self._certificates = CertificateMonitor(repository)
        self._clock = repository.clock
        self._results: dict[str, KeyCheck] = {}
        self._due_times: dict[str, float] = {}
        """By key, the monotonic time of its next check."""
        self._lock = asyncio.Lock()
        self.generation = 0
        """Incremented whenever the result of a key has changed."""

    async def run(self, interval: float) -> None:
        """Check each active key every ``interval`` seconds until cancelled, at times that are spread evenly."""
        while True:
            try:
                await self._certificates.check()
                await self.check_due_keys(interval)
            except SealyardError as error:
                log.warning("could not record the check of a key: %s", error)
            await self._clock.sleep(self._seconds_until_due(interval))

    async def check_due_keys(self, interval: float) -> None:
        """Check the keys whose last check is ``interval`` seconds ago, and those that failed a short time ago.

        The first check of a new key is at most ``interval`` seconds after the call that finds it. Raises
        :class:`SealyardError` if a result cannot be committed.
        """
        active_keys = self._list_active_keys()
        self._schedule_new_keys(active_keys, interval)
        await self._forget_unused({active_key.check.id for active_key in active_keys})
        for active_key in active_keys:
            key_id = active_key.check.id
            if self._due_times[key_id] > self._clock.monotonic():
                continue
            # The next check is scheduled first, because recording the result can fail.
            self._due_times[key_id] = self._clock.monotonic() + min(interval, RETRY_SECONDS)
            check = await self._check(active_key)
            if check is not None and check.passed:
                self._due_times[key_id] = self._clock.monotonic() + interval

    async def check_new_keys(self) -> tuple[KeyCheck, ...]:
        """Return the last result of each active key. Keys that were not checked yet are checked now."""
        for active_key in self._list_active_keys():
            if active_key.check.id not in self._results:
                await self._check(active_key)
        return self.last_checks

    @property
    def last_checks(self) -> tuple[KeyCheck, ...]:
        """The last result of each active key that was checked."""
        ids = [active_key.check.id for active_key in self._list_active_keys()]
        return tuple(self._results[key_id] for key_id in ids if key_id in self._results)

    def _schedule_new_keys(self, active_keys: list[_ActiveKey], interval: float) -> None:
        new_ids = [each.check.id for each in active_keys if each.check.id not in self._due_times]
        for number, key_id in enumerate(new_ids, start=1):
            self._due_times[key_id] = self._clock.monotonic() + interval * number / len(new_ids)

    def _seconds_until_due(self, interval: float) -> float:
        next_due_time = min(self._due_times.values(), default=float("inf"))
        return max(0.0, min(next_due_time - self._clock.monotonic(), interval * MAX_SLEEP_FRACTION))

    def _list_active_keys(self) -> list[_ActiveKey]:
        """Return the keys of the newest version of each device configuration, without duplicates, and the audit key."""
        active_keys: dict[str, _ActiveKey] = {}
        for device in self._repository.list_all(DEVICES):
            for key in device.keys:
                use = KeyUse.ENCRYPTION if isinstance(key, EncryptionKey) else KeyUse.SIGNING
                check = KeyCheck(use=use, uri=key.uri, version=key.version, algorithm=key.algorithm)
                # The texts of the configuration are irrelevant, and never sent to a worker.
                active_keys[check.id] = _ActiveKey(check, msgspec.structs.replace(key, name="", description=""))
        return [*active_keys.values(), _ActiveKey(AUDIT_KEY, None)]

    # ---- probes

    async def _check(self, active_key: _ActiveKey) -> KeyCheck | None:
        """Check a key, and return the result; None if the crypto zone cannot be used, which says nothing about it."""
        async with self._lock:
            error = await self._find_error(active_key)
            if isinstance(error, ZoneUnavailableError):
                return None
            check = active_key.check
            if error is not None:
                check = msgspec.structs.replace(check, error=str(error), code=error.code, since=self._clock.now())
            return await self._record(check)

    async def _find_error(self, active_key: _ActiveKey) -> SealyardError | None:
        """Probe the key, a second time if the worker failed, because another key or job may have caused that."""
        try:
            try:
                await self._probe(active_key.key)
            except WorkerError:
                await self._probe(active_key.key)
        except SealyardError as error:
            return error
        return None

    async def _probe(self, key: EncryptionKey | SigningKey | None) -> None:
        if key is None:
            public_key = await asyncio.to_thread(self._audit.read_public_key)
            await self._bus.request(ProbeAuditKey(public_key=public_key.decode()))
        elif isinstance(key, EncryptionKey):
            await self._bus.request(ProbeEncryptionKey(key=key))
        else:
            await self._probe_signing_key(key)

    async def _probe_signing_key(self, key: SigningKey) -> None:
        key_info = self._repository.get(KEYS, key.uri)
        version = key_info.version(key.version) if key_info is not None else None
        if key_info is None or version is None or version.certificate is None:
            raise NotFoundError("The workspace has no certificate of the key.", "Rotate the key.")
        await self._bus.request(ProbeSigningKey(key=key, certificate=version.certificate))
        if error := find_certificate_error(key_info, version, self._clock.now()):
            raise InvalidKeyError(error)

    # ---- results

    async def _record(self, check: KeyCheck) -> KeyCheck:
        """Keep the result; if it differs from the stored one, commit the change. Returns the kept result."""
        stored_failure = self._repository.get(KEY_FAILURES, check.id)
        if stored_failure is not None and not check.passed:
            check = msgspec.structs.replace(check, since=stored_failure.since)
        previous_check, self._results[check.id] = self._results.get(check.id), check
        if check != previous_check:
            self.generation += 1
        if stored_failure != (None if check.passed else check):
            await self._commit(check, stored_failure)
        return check

    async def _commit(self, check: KeyCheck, stored_failure: KeyCheck | None) -> None:
        """Commit the change from ``stored_failure`` (None: the key worked) to ``check``."""
        unit_of_work = self._repository.begin()
        if check.passed:
            unit_of_work.delete(KEY_FAILURES, check.id)
        else:
            unit_of_work.put(KEY_FAILURES, check.id, check)
        if check.passed or stored_failure is None:
            resource = f"KEY:{check.uri}"
            action = AuditAction.STATUS_CHANGED if check.passed else AuditAction.FAILED
            message = f"{check.label} works again" if check.passed else check.warning
            identity = {"use": check.use.value, "version": check.version, "algorithm": check.algorithm}
            unit_of_work.audit(SYSTEM_SUBJECT, action, resource, message, identity, check.code)
            unit_of_work.notify(resource, key_check=check)
            log.warning("%s", message)
        unit_of_work.notify("WORKSPACE")
        await unit_of_work.commit()

    async def _forget_unused(self, active_ids: set[str]) -> None:
        """Discard the results of keys that are no longer active, for example because they were rotated."""
        for key_id in _missing_from(active_ids, self._due_times):
            del self._due_times[key_id]
        for key_id in _missing_from(active_ids, self._results):
            del self._results[key_id]
        for failure in list(self._repository.list_all(KEY_FAILURES)):
            if failure.id not in active_ids:
                await self._commit_unused(failure)

    async def _commit_unused(self, failure: KeyCheck) -> None:
        resource = f"KEY:{failure.uri}"
        unit_of_work = self._repository.begin()
        unit_of_work.delete(KEY_FAILURES, failure.id)
        message = f"{failure.label} is no longer in use"
        unit_of_work.audit(SYSTEM_SUBJECT, AuditAction.STATUS_CHANGED, resource, message)
        check = msgspec.structs.replace(failure, error="", code="", since=None)
        unit_of_work.notify(resource, key_check=check)
        unit_of_work.notify("WORKSPACE")
        await unit_of_work.commit()


def _missing_from(active_ids: set[str], ids: Iterable[str]) -> list[str]:
    return [each for each in ids if each not in active_ids]
