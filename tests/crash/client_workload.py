"""Clients that request, approve, wait for and download tasks while the process that serves them is killed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import TypeVar

from sealyard.client.http.client import HttpClient
from sealyard.model.errors import ArtifactStoreError
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest
from sealyard.model.tasks import Task, TaskKind, TaskStatus, Verdict
from tests.crash.engine_process import APPROVER, CONFIG, REQUESTER, REVIEWER
from tests.crash.random_requests import ExpectedTask

DEVELOPERS = 3
REJECTION_PROBABILITY = 0.15
OBJECT_STORE_RETRY_SECONDS = 0.2

T = TypeVar("T")

Connect = Callable[[str], HttpClient]
"""Returns a client for a subject."""


@dataclass
class ClientWorkload:
    """The tasks of several developers, and what the server has acknowledged to them."""

    connect: Connect
    random: Random
    files: tuple[Path, ...]
    expected: dict[str, ExpectedTask] = field(default_factory=dict)
    accepted: dict[str, str] = field(default_factory=dict)
    """Task ID by token."""
    rejected: set[str] = field(default_factory=set)
    downloads: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the downloaded artifact by task ID."""
    finished: dict[str, str] = field(default_factory=dict)
    """Final status by task ID."""
    lost_workers: dict[str, int] = field(default_factory=dict)
    """By the token of each unfinished task: how many workers were killed since it was requested."""
    is_finished: bool = False

    async def run_developer(self, number: int) -> None:
        """Complete tasks until the run is finished; no kill may surface as an error."""
        developer, owner, reviewer = (self.connect(each) for each in (REQUESTER, APPROVER, REVIEWER))
        try:
            while not self.is_finished:
                token = f"{number}-{len(self.expected)}"
                self.lost_workers[token] = 0
                task = await self._create_task(developer, token)
                self.accepted[token] = task.id
                await self._decide(task, owner, reviewer)
                await self._finish(developer, task.id)
                del self.lost_workers[token]
        finally:
            for client in (developer, owner, reviewer):
                await client.close()

    async def _create_task(self, client: HttpClient, token: str) -> Task:
        kind = self.random.choice((TaskKind.PACKAGING, TaskKind.PACKAGING, TaskKind.ENCRYPTION, TaskKind.SIGNING))
        if kind is TaskKind.SIGNING:
            message = self.random.randbytes(200)
            self.expected[token] = ExpectedTask("signing", message=message)
            return await client.create_signing(SigningRequest(config=CONFIG, message=message, client_token=token))
        paths = tuple(self.random.sample(self.files, 2 if kind is TaskKind.PACKAGING else 1))
        self.expected[token] = ExpectedTask(kind.value, paths)
        files = tuple([await _retry_object_store(partial(client.upload, each)) for each in paths])
        if kind is TaskKind.ENCRYPTION:
            request = EncryptionRequest(config=CONFIG, file=files[0], client_token=token)
            return await client.create_encryption(request)
        return await client.create_package(PackageRequest(config=CONFIG, firmware=files, client_token=token))

    async def _decide(self, task: Task, owner: HttpClient, reviewer: HttpClient) -> None:
        if task.kind is TaskKind.ENCRYPTION:
            return
        if self.random.random() < REJECTION_PROBABILITY:
            await reviewer.decide(task.id, Verdict.REJECTED, "wrong file", digest=task.approval_digest)
            self.rejected.add(task.id)
        else:
            await owner.decide(task.id, Verdict.APPROVED, "storm", digest=task.approval_digest)

    async def _finish(self, client: HttpClient, task_id: str) -> None:
        task = await client.wait(task_id)
        expected_status = TaskStatus.CANCELLED if task_id in self.rejected else TaskStatus.DONE
        assert task.status is expected_status, task.reason
        self.finished[task_id] = task.status
        if task.status is TaskStatus.DONE and task.kind is not TaskKind.SIGNING:
            self.downloads[task_id] = await _retry_object_store(partial(_download, client, task_id))


async def _download(client: HttpClient, task_id: str) -> str:
    digest = hashlib.sha256()
    async for chunk in client.download(task_id):
        digest.update(chunk)
    await client.report_downloaded(task_id)
    return digest.hexdigest()


async def _retry_object_store(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call while the object store of the workspace, if it has one, cannot be reached."""
    while True:
        try:
            return await call()
        except ArtifactStoreError:
            await asyncio.sleep(OBJECT_STORE_RETRY_SECONDS)


async def run_developers(workload: ClientWorkload) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(DEVELOPERS):
            group.create_task(workload.run_developer(number))
