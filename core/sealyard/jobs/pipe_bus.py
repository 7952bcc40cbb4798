"""The job bus for a single machine, which passes the messages through pipes; see :mod:`sealyard.jobs.worker_pool`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Self

from sealyard.concurrency.threads import run_uncancellable
from sealyard.jobs.bus import Reattachment, Report
from sealyard.jobs.key_holder import KeyHolder, KeyHolderFactory
from sealyard.jobs.worker_pool import WorkerPool
from sealyard.model.clock import Clock
from sealyard.model.errors import NotFoundError, WorkerError, error_from_info
from sealyard.model.grants import InputGrant, ResultGrant
from sealyard.model.key_commands import (
    AuditPublicKey,
    DescribeKey,
    GetSignedCheckpoint,
    KeyCommand,
    ListBackendKeys,
    ProbeEncryptionKey,
    ProbeProviders,
    ProbeSigningKey,
    RegisterKey,
    SignCheckpoint,
)
from sealyard.model.key_holder_messages import EngineKeys, KeyStoreLocation, StoreGeneration
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task
from sealyard.model.worker_messages import (
    BuildSecretRecorded,
    Job,
    KeyRequest,
    KeyResponse,
    OrderRefused,
    RefusedMeasure,
    RunJob,
    SigningPermitted,
)
from sealyard.model.workspace import WorkspacePaths
from sealyard.model.zone_status import ZoneStatus

IDEMPOTENT_COMMANDS = (
    AuditPublicKey
    | GetSignedCheckpoint
    | SignCheckpoint
    | DescribeKey
    | RegisterKey
    | ListBackendKeys
    | ProbeProviders
    | ProbeSigningKey
    | ProbeEncryptionKey
)
"""Commands that can safely be executed twice. The bus retries them once if the worker exits without a response."""


class PipeBus:
    """Implements :class:`sealyard.jobs.bus.JobBus` on one machine. All calls must be made on one event loop.

    ``key_holder`` starts the workers; without it, none can be started. ``log_path``: the file that receives the
    standard error output of the workers. ``workers``: the number of slots, raised to two if smaller.
    ``owns_key_holder``: whether :meth:`close` closes the key holder too.
    """

    def __init__(
        self,
        key_holder: KeyHolder | None,
        log_path: Path,
        clock: Clock,
        workers: int = 2,
        *,
        owns_key_holder: bool = False,
    ) -> None:
        self._owns_key_holder = owns_key_holder
        self._key_holder = key_holder
        self._pool = WorkerPool(key_holder, log_path, clock, workers)
        self._last_request_id = 0

    @classmethod
    def open(
        cls, key_holder: KeyHolder | KeyHolderFactory, location: KeyStoreLocation, clock: Clock, workers: int
    ) -> Self:
        """Create the bus. If ``key_holder`` is a function, it starts the key holder, which the bus then owns."""
        log_path = WorkspacePaths(Path(location.workspace)).worker_log
        if isinstance(key_holder, KeyHolder):
            return cls(key_holder, log_path, clock, workers)
        return cls(key_holder(location), log_path, clock, workers, owns_key_holder=True)

    @property
    def is_remote(self) -> bool:
        return False

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the running workers."""
        return self._pool.pids

    @property
    def refused_measures(self) -> tuple[RefusedMeasure, ...]:
        return self._pool.refused_measures

    # ---- jobs

    def reserve(self, task_id: str, size: int, *, large_job_waiting: bool = False) -> bool:
        return self._pool.reserve(task_id, size, large_job_waiting=large_job_waiting)

    def on_capacity_changed(self, callback: Callable[[], None]) -> None:
        """Do nothing: the number of slots is constant."""

    async def prepare(self, task_id: str, fencing_token: int) -> str:  # noqa: ARG002 - for buses to other machines
        return await self._pool.prepare(task_id)

    def release(self, task_id: str) -> None:
        self._pool.release(task_id)

    async def run(self, job: Job, inputs: tuple[InputGrant, ...] = ()) -> None:
        assert not inputs
        await self._pool.start(job.task.id, job.task.fencing_token, RunJob(job=job))

    async def confirm_build_secret(self, task_id: str, fencing_token: int) -> None:
        answer = BuildSecretRecorded(task_id=task_id, fencing_token=fencing_token)
        await self._pool.send(task_id, fencing_token, answer)

    async def permit_signing(self, task_id: str, fencing_token: int, sha256: str) -> None:
        answer = SigningPermitted(task_id=task_id, fencing_token=fencing_token, sha256=sha256)
        await self._pool.send(task_id, fencing_token, answer)

    async def stop(self, task_id: str) -> None:
        await self._pool.stop(task_id)

    async def reattach(self, task: Task) -> Reattachment:  # noqa: ARG002 - its workers end with the engine
        return Reattachment.LOST

    async def issue_grants(
        self, task_id: str, fencing_token: int, inputs: tuple[InputGrant, ...], result: ResultGrant | None
    ) -> None:
        """Do nothing: workers on this machine read and write files, and request no grants."""

    async def reports(self) -> AsyncIterator[Report]:
        async for report in self._pool.reports():
            if not isinstance(report.message, OrderRefused):
                yield report.message

    def acknowledge(self, report: Report) -> None:
        """Do nothing: reports are not repeated."""

    async def zone_status(self) -> ZoneStatus | None:
        return None

    async def drain_host(self, name: str) -> None:
        raise NotFoundError(f"Crypto host {escape_text(name, 100)} not found.", "The workers run on this machine.")

    # ---- requests

    async def get_engine_keys(self) -> EngineKeys:
        return await self._pool.require_key_holder().get_engine_keys()

    async def update_store_generation(self, generation: StoreGeneration | None) -> StoreGeneration | None:
        return await self._pool.require_key_holder().update_store_generation(generation)

    async def request(self, command: KeyCommand) -> KeyResponse:
        response = await self._request_once(command)
        if response is None and isinstance(command, IDEMPOTENT_COMMANDS):
            response = await self._request_once(command)
        if response is None:
            raise WorkerError("The crypto worker exited before it responded.", "Try again, or see the worker log.")
        if response.error is not None:
            raise error_from_info(response.error)
        return response

    async def _request_once(self, command: KeyCommand) -> KeyResponse | None:
        """Return None if the worker exits without a response."""
        self._last_request_id += 1
        request = KeyRequest(request_id=self._last_request_id, command=command)
        return await self._pool.request(self._last_request_id, request)

    async def close(self) -> None:
        """Close the workers, and the key holder if the bus owns it. No worker is started after this call."""
        await self._pool.close()
        if self._key_holder is not None:
            self._key_holder.release_worker_state()
            if self._owns_key_holder:
                await run_uncancellable(self._key_holder.close)
