"""Fake of the client protocol: tasks, results and uploads in memory, and errors on request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from sealyard.client.protocol import Client
from sealyard.model.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ResultExpiredError,
    ResultGoneError,
    SealyardError,
)
from sealyard.model.events import Event, TaskChanged
from sealyard.model.hints import Hint, HintCode
from sealyard.model.requests import PackageRequest, TaskFilter, TaskPage
from sealyard.model.tasks import InputFile, Result, ResultState, Task, TaskKind, TaskStatus

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CHUNK = 1000
ME = "USER:dev"
OTHER = "USER:other"

Stream = list[Event | Exception]
"""The events or errors that one connection yields."""


class FakeClock:
    """A clock whose ``sleep`` advances the time without waiting. ``slept`` records the durations."""

    def __init__(self) -> None:
        self.time = START
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.time.timestamp()

    def boot_id(self) -> str | None:
        return None

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class FakeClient:
    """Implements the part of :class:`sealyard.client.protocol.Client` that the tests use."""

    def __init__(self) -> None:
        self.all: dict[str, Task] = {}
        self.bytes: dict[str, bytes] = {}
        self.pem = ""
        self.offsets: list[tuple[str, int]] = []
        self.confirmed: list[str] = []
        self.break_after: int | None = None
        self.page = 2
        self.streams: list[Stream] = []
        self.cursors: list[int | None] = []
        self.waiting = asyncio.Event()
        self.ending = False
        self.tokens: dict[str, PackageRequest] = {}
        self.created: list[Task] = []
        self.discarded_uploads: list[InputFile] = []
        self.upload_error: SealyardError | None = None
        self.create_error: SealyardError | None = None
        self.task_error: SealyardError | None = None
        self.on_upload: Callable[[Path], None] = lambda _: None
        self.on_chunk: Callable[[], object] = lambda: None
        self.crash_after_create = False

    @property
    def as_client(self) -> Client:
        """This object, typed as a complete client."""
        return cast("Client", self)

    # ---- setup

    def add(
        self,
        data: bytes,
        *,
        task_id: str = "",
        name: str = "firmware.enc",
        kind: TaskKind = TaskKind.ENCRYPTION,
        status: TaskStatus = TaskStatus.DONE,
        by: str = ME,
    ) -> Task:
        task_id = task_id or f"task{len(self.all):06}"
        result = Result(
            state=ResultState.AVAILABLE,
            file_name=name,
            link="link",
            expires_at=START + timedelta(days=1),
            retained_until=START + timedelta(days=30),
            sha256=hashlib.sha256(data).hexdigest(),
            size=len(data),
        )
        if kind is TaskKind.SIGNING:
            result = Result(state=ResultState.AVAILABLE, signature=base64.b64encode(data).decode())
        self.bytes[task_id] = data
        self.all[task_id] = Task(
            id=task_id,
            kind=kind,
            status=status,
            name=f"the {task_id}",
            config_id="dev1",
            config_name="door",
            config_version=1,
            created_by=by,
            created_at=START + timedelta(minutes=len(self.all)),
            updated_at=START,
            inputs=(),
            format="se-1" if kind is TaskKind.PACKAGING else "",
            result=result if status is TaskStatus.DONE else None,
        )
        return self.all[task_id]

    def set_result(self, task_id: str, **changes: Any) -> None:
        task = self.all[task_id]
        assert task.result is not None
        self.all[task_id] = msgspec.structs.replace(task, result=msgspec.structs.replace(task.result, **changes))

    def expire(self, task_id: str) -> None:
        self.set_result(task_id, state=ResultState.EXPIRED, link=None)

    def renew_link(self, task_id: str) -> None:
        self.set_result(task_id, state=ResultState.AVAILABLE, link="link", expires_at=START + timedelta(days=2))

    # ---- client protocol

    async def workspace(self) -> Any:
        return SimpleNamespace(id="workspace1", subject=ME)

    async def task(self, task_id: str) -> Task:
        if self.task_error is not None:
            raise self.task_error
        matching = [task for task in self.all.values() if task.id.startswith(task_id)]
        if len(matching) != 1:
            raise NotFoundError(f"Task {task_id} not found.")
        return matching[0]

    async def tasks(self, filters: TaskFilter, *, after: str | None = None, limit: int = 100) -> TaskPage:
        matching = [
            task
            for task in reversed(self.all.values())
            if task.status is filters.status and task.created_by == filters.created_by
        ]
        start = int(after or 0)
        end = start + self.page
        return TaskPage(tasks=tuple(matching[start:end]), next=str(end) if end < len(matching) else None)

    async def download(self, task_id: str, *, offset: int = 0) -> AsyncIterator[bytes]:
        self.offsets.append((task_id, offset))
        task = self.all[task_id]
        assert task.result is not None
        if task.result.state is ResultState.EXPIRED:
            raise ResultExpiredError("The link has expired.", Hint.of(HintCode.RENEW_LINK, task_id=task_id))
        if task.result.state is ResultState.GONE:
            raise ResultGoneError("The result was removed.", "Ask for it again.")
        data = self.bytes[task_id]
        for start in range(offset, len(data), CHUNK):
            if self.break_after is not None and start - offset >= self.break_after:
                raise SealyardError("The connection broke.")
            self.on_chunk()
            await asyncio.sleep(0)
            yield data[start : start + CHUNK]

    async def report_downloaded(self, task_id: str) -> None:
        self.confirmed.append(task_id)

    async def certificate(self, task_id: str) -> str:
        return self.pem

    async def events(self, after: int | None = None) -> AsyncIterator[Event]:
        self.cursors.append(after)
        for item in self.streams.pop(0) if self.streams else []:
            if isinstance(item, Exception):
                raise item
            yield item
        if not self.ending:
            self.waiting.set()
            await asyncio.Event().wait()

    async def device(self, config: str, version: int | None = None) -> Any:
        if config not in {"dev1", "door"}:
            raise NotFoundError(f"Device configuration {config} not found.")
        return SimpleNamespace(id="dev1", name="door")

    async def upload(self, path: Path, *, expected_sha256: str | None = None, progress: Any = None) -> InputFile:
        if self.upload_error is not None:
            raise self.upload_error
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InvalidInputError(f"{path.name} is not there.") from error
        self.on_upload(path)
        return InputFile(name=path.name, size=len(data), sha256=hashlib.sha256(data).hexdigest())

    async def discard_uploads(self, files: tuple[InputFile, ...]) -> None:
        self.discarded_uploads.extend(files)

    async def create_package(self, request: PackageRequest) -> Task:
        if self.create_error is not None:
            raise self.create_error
        token = request.client_token
        assert token is not None
        if token in self.tokens:
            if self.tokens[token] != request:
                raise ConflictError("This idempotency key was already used for a different request.")
            return next(task for task in self.created if task.client_token == token)
        self.tokens[token] = request
        task = msgspec.structs.replace(
            self.add(b"", task_id=f"made{len(self.created)}", kind=TaskKind.PACKAGING, status=TaskStatus.WAITING),
            name=request.name,
            inputs=request.firmware,
            metadata=request.metadata,
            justification=request.justification or "",
            client_token=token,
        )
        self.created.append(task)
        if self.crash_after_create:
            raise KeyboardInterrupt
        return task


def finished_task(task: Task, cursor: int) -> TaskChanged:
    return TaskChanged(
        cursor=cursor,
        at=START,
        task_id=task.id,
        kind=task.kind,
        status=TaskStatus.DONE,
        name=task.name,
        config_id=task.config_id,
        created_by=task.created_by,
        result_state=ResultState.AVAILABLE,
    )
