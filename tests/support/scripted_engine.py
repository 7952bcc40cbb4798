"""The engine's end of a bus database, which a test controls step by step."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import procrastinate
import psycopg

from sealyard.crypto.signed_messages import MessageLabel, sign_message
from sealyard.jobs.zone import statements
from sealyard.jobs.zone.codec import decode_agent_report, encode_message
from sealyard.jobs.zone.queue import (
    ASK_TASK,
    CRYPTO_TASK,
    build_app,
    command_task_of,
    host_channel_of,
    job_queue_of,
    queueing_lock_of,
    queues_of,
)
from sealyard.model.grants import InputGrant
from sealyard.model.keys import KeyInfo
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    BuildSecretRecorded,
    Job,
    JobFailed,
    JobFinished,
    JobStopped,
    KeyCommand,
    KeyResponse,
    RunJob,
    SegmentEncrypted,
    SigningPermissionRequested,
    SigningPermitted,
)
from sealyard.model.zone_messages import (
    CommandFailed,
    ForwardOrder,
    GrantsRequested,
    Instruction,
    IssueGrants,
    JobAbandoned,
    JobClaimed,
    RunCommand,
    SealedResponse,
    SignedReport,
    StartJob,
)
from sealyard.model.zones import Enrollment
from sealyard.storage.postgres.connection import Connection, Database
from sealyard.storage.result_id import ResultId
from sealyard.storage.s3.artifacts import S3Artifacts
from tests.support.bus_database import ZONE, BusDatabase
from tests.support.limits import TIMEOUT
from tests.support.worker_harness import WorkerWorkspace
from tests.support.zone_engine import ZoneEngine

T = TypeVar("T")

GRANT_SECONDS = 300


class ScriptedEngine(ZoneEngine):
    """Defers jobs, signs instructions and reads reports. ``grant_seconds``: lifetime of the grants for inputs."""

    def __init__(self, bus: BusDatabase, artifacts: S3Artifacts | None, app: procrastinate.App) -> None:
        super().__init__()
        self.bus = bus
        self.grant_seconds = GRANT_SECONDS
        self.reports: list[tuple[str, Any]] = []
        """All reports that were read, with their hosts; those of workers are verified and unpacked."""
        self._artifacts = artifacts
        self._app = app
        self._connection: Connection | None = None
        self._read: list[int] = []
        self._returned: set[int] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, bus: BusDatabase, artifacts: S3Artifacts | None) -> AsyncIterator[ScriptedEngine]:
        app = build_app(Database(bus.engine))
        async with app.open_async():
            engine = cls(bus, artifacts, app)
            try:
                yield engine
            finally:
                engine.disconnect()

    def execute(self, statement: str, parameters: Mapping[str, Any]) -> list[Any]:
        """Execute a statement with the role of engines, over another connection if the last one was lost."""
        for _ in range(2):
            if self._connection is None:
                self._connection = Database(self.bus.engine).connect()
            try:
                cursor = self._connection.execute(statement.encode(), parameters)
                return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                self.disconnect()
        raise AssertionError("the bus database cannot be used")

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def enrollment(self) -> Enrollment:
        return msgspec.structs.replace(super().enrollment, zone=ZONE)

    def create_jobs(self, root: Path, keys: dict[str, KeyInfo]) -> WorkerWorkspace:
        """Return a factory of jobs whose inputs are in the object store. ``keys``: those of the zone."""
        workspace = WorkerWorkspace(root, keys)
        workspace.artifacts = self._artifacts  # type: ignore[assignment]  # it only ingests
        return workspace

    # ---- the queue

    async def defer(self, job: Job, *, size: int = 1, number: int | None = None) -> None:
        number = job.task.fencing_token if number is None else number
        await self._app.configure_task(
            CRYPTO_TASK,
            queue=job_queue_of(self.workspace_id, size),
            queueing_lock=queueing_lock_of(self.workspace_id, job.task.id),
        ).defer_async(workspace=self.workspace_id, task=job.task.id, number=number, size=size)

    # ---- instructions

    def send(
        self, host: str, message: Any, *, key: bytes = b"", signed_host: str | None = None, task: str = ""
    ) -> None:
        """Send an instruction. ``key`` and ``signed_host``: to forge one."""
        instruction = Instruction(
            workspace=self.workspace_id, host=host if signed_host is None else signed_host, message=message
        )
        signed = sign_message(key or self._order_key, MessageLabel.INSTRUCTION, encode_message(instruction))
        row = {"workspace": self.workspace_id, "host": host, "task": task or getattr(message, "task_id", "")}
        content = {"id": secrets.token_hex(16), "body": signed.body, "signature": signed.signature}
        self.execute(statements.INSERT_INSTRUCTION, {**row, **content})
        self.execute(statements.NOTIFY, {"channel": host_channel_of(host)})

    def start(self, host: str, job: Job, **changes: Any) -> None:
        """Start a claimed job with grants for its inputs."""
        message = StartJob(
            task_id=job.task.id,
            fencing_token=job.task.fencing_token,
            inputs=tuple(self.grant(each.sha256) for each in job.task.inputs if each.inline is None),
            order=self.sign(RunJob(job=job)),
        )
        self.send(host, msgspec.structs.replace(message, **changes))

    def forward(self, host: str, message: BuildSecretRecorded | SigningPermitted) -> None:
        self.send(
            host,
            ForwardOrder(task_id=message.task_id, fencing_token=message.fencing_token, order=self.sign(message)),
        )

    def grant(self, sha256: str, seconds: int = 0) -> InputGrant:
        assert self._artifacts is not None
        return self._artifacts.grant_input(sha256, seconds or self.grant_seconds)

    # ---- reports

    async def receive(self, kind: type[T], matches: Callable[[T], bool] = lambda _: True) -> tuple[str, T]:
        """Return the first report of this kind that was not returned yet, and its host."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                for number, (host, message) in enumerate(self.reports):
                    if number not in self._returned and isinstance(message, kind) and matches(message):
                        self._returned.add(number)
                        return host, message
                count = len(self.reports)
                self._read_reports()
                if count == len(self.reports):
                    await asyncio.sleep(0.02)

    def _read_reports(self) -> None:
        parameters = {"workspace": self.workspace_id, "received": self._read, "limit": 100}
        for number, host, body in self.execute(statements.READ_REPORTS, parameters):
            self._read.append(number)
            message = decode_agent_report(bytes(body))
            self.reports.append(
                (host, self.open_report(message.report) if isinstance(message, SignedReport) else message)
            )

    # ---- whole courses

    async def claim(self, job: Job, *, size: int = 1) -> str:
        """Defer a job, and return the agent that claims it."""
        await self.defer(job, size=size)
        host, claimed = await self.receive(JobClaimed, lambda each: each.task_id == job.task.id)
        assert claimed.error is None, claimed.error
        return host

    async def run(self, job: Job, *, size: int = 1) -> JobFinished | JobFailed | JobStopped | JobAbandoned:
        """Run a job with all permissions, and return the report that ends it."""
        host = await self.claim(job, size=size)
        self.start(host, job)
        return await self.follow(host, job)

    async def follow(self, host: str, job: Job) -> JobFinished | JobFailed | JobStopped | JobAbandoned:
        """Answer the reports about a running job, and return the one that ends it."""
        ids = (job.task.id, job.task.fencing_token)
        while True:
            _, report = await self.receive(object, lambda each: _ids_of(each) == ids)
            if isinstance(report, JobFinished | JobFailed | JobStopped | JobAbandoned):
                return report
            assert isinstance(
                report, BuildSecretCreated | SegmentEncrypted | SigningPermissionRequested | GrantsRequested
            ), report
            self.answer(host, report)

    def answer(
        self,
        host: str,
        report: BuildSecretCreated | SegmentEncrypted | SigningPermissionRequested | GrantsRequested,
    ) -> None:
        ids: Any = {"task_id": report.task_id, "fencing_token": report.fencing_token}
        match report:
            case BuildSecretCreated():
                self.forward(host, BuildSecretRecorded(**ids))
            case SigningPermissionRequested(sha256=sha256):
                self.forward(host, SigningPermitted(**ids, sha256=sha256))
            case GrantsRequested(inputs=inputs, result=None):
                grants = tuple(self.grant(sha256, GRANT_SECONDS) for sha256 in inputs)
                self.send(host, IssueGrants(**ids, inputs=grants))
            case GrantsRequested(result=content) if content is not None:
                assert self._artifacts is not None
                result = ResultId(report.task_id, report.fencing_token)
                grant = self._artifacts.grant_result(result, content, GRANT_SECONDS)
                self.send(host, IssueGrants(**ids, result=grant))

    async def ask(self, command: KeyCommand, *, changes_keys: bool = False) -> KeyResponse | CommandFailed:
        """Execute a key command on any host, and return its response."""
        sealed = self.seal(command)
        message = RunCommand(request_id=sealed.request_id, order=self.sign(sealed), changes_keys=changes_keys)
        self.send("", message, task=command_task_of(sealed.request_id))
        await self._app.configure_task(ASK_TASK, queue=queues_of(self.workspace_id).commands).defer_async(
            workspace=self.workspace_id, request_id=sealed.request_id
        )
        _, report = await self.receive(
            object,
            lambda each: isinstance(each, SealedResponse | CommandFailed) and each.request_id == sealed.request_id,
        )
        assert isinstance(report, SealedResponse | CommandFailed)
        return report if isinstance(report, CommandFailed) else self.open_response(report)


def _ids_of(report: object) -> tuple[str, int]:
    return getattr(report, "task_id", ""), getattr(report, "fencing_token", 0)
