"""Handing results out: through a link that is checked each time, by ranges, and renewed while they are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

from sealyard.engine.state.links import DownloadLinks
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import KEYS
from sealyard.engine.tasks.query import TaskQueries
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    ResultExpiredError,
    ResultGoneError,
    UsageError,
)
from sealyard.model.results import with_new_link
from sealyard.model.tasks import Result, ResultState, Task, TaskStatus
from sealyard.storage.artifacts import ArtifactStore

CHUNK = 4 * 1024 * 1024

LINK_BEARER = "SYSTEM:link"
"""The author of what is fetched by a link: whoever had it."""


class ResultDelivery:
    """Whoever may see a task may have its result."""

    def __init__(self, ledger: Repository, views: TaskQueries, links: DownloadLinks, artifacts: ArtifactStore) -> None:
        self._ledger = ledger
        self._views = views
        self._links = links
        self._artifacts = artifacts

    async def renew(self, subject: str, task_id: str) -> Task:
        task = self._views.get(subject, task_id)
        result = _require_artifact(task)
        now = self._ledger.clock.now()
        device = self._ledger.device(task.config_id, task.config_version)
        expires_at = now + timedelta(seconds=device.link_ttl_seconds)
        if result.retained_until is not None:
            expires_at = min(expires_at, result.retained_until)
        fresh = with_new_link(result, self._links.sign(task.id, expires_at), expires_at, now)
        draft = self._ledger.begin()
        draft.audit(
            subject,
            AuditAction.RENEWED,
            f"TASK:{task.id}",
            "the link was renewed",
            {"expiresAt": expires_at.isoformat()},
        )
        renewed_task = draft.change_task(task.id, result=fresh)
        await draft.commit()
        return renewed_task

    async def download(self, subject: str, task_id: str, offset: int) -> AsyncGenerator[bytes, None]:
        """The link is judged when the download begins; one that is under way is let finish."""
        task = self._views.get(subject, task_id)
        if offset < 0:
            raise UsageError("A download begins at its first byte or later.", "Give an offset of 0 or more.")
        if self._links.verify(_require_valid_link(task), self._ledger.clock.now()) != task.id:
            raise PermissionDeniedError("This link leads to another task's result.", "Ask the workspace for a new one.")
        async for chunk in self._read(task.id, offset):
            yield chunk

    async def _read(self, task_id: str, offset: int) -> AsyncGenerator[bytes, None]:
        file = await asyncio.to_thread(self._artifacts.open_result, task_id, offset)
        with file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk

    async def record_download(self, subject: str, task_id: str) -> None:
        await self._record(subject, self._views.get(subject, task_id), "downloaded whole and checked")

    async def record_transfer(self, subject: str, task_id: str, offset: int) -> None:
        """Its last byte has gone out; whether it arrived, only who fetched it can say."""
        await self._record(subject, self._views.get(subject, task_id), _sent(offset), offset)

    def resolve_link(self, link: str) -> Task:
        """The task whose result a link leads to, for whoever has the link.

        Raises :class:`PermissionDeniedError`, :class:`ResultExpiredError`, :class:`ResultGoneError`.
        """
        now = self._ledger.clock.now()
        try:
            return self._resolve(self._links.verify(link, now))
        except ResultExpiredError as error:
            self._resolve(self._links.task_id_of(link))
            raise error

    def download_by_link(self, link: str, offset: int) -> AsyncGenerator[bytes, None]:
        """As :meth:`download`, by the link alone."""
        return self._read(self.resolve_link(link).id, offset)

    async def record_link_transfer(self, link: str, offset: int) -> None:
        task = self._ledger.task(self._links.task_id_of(link))
        await self._record(LINK_BEARER, task, f"{_sent(offset)}, by its link", offset)

    def certificate(self, subject: str, task_id: str) -> str:
        """The certificate (PEM) of the key version the task signs with."""
        task = self._views.get(subject, task_id)
        if task.signing_key is None:
            raise NotFoundError(f"Task {task.id} has no signature.", "An encryption task only encrypts.")
        key = self._ledger.get(KEYS, task.signing_key.uri)
        version = key.version(task.signing_key.version) if key is not None else None
        if version is None or version.certificate is None:
            raise NotFoundError(f"The certificate of {task.signing_key.uri} is not on record.")
        return version.certificate

    def _resolve(self, task_id: str) -> Task:
        """The task as it stands now; one whose artifact was removed says so, whatever its link says."""
        task = self._views.refresh(self._ledger.task(task_id))
        if _require_artifact(task).state is ResultState.GONE:
            _require_valid_link(task)
        return task

    async def _record(self, author: str, task: Task, message: str, offset: int = 0) -> None:
        """``offset``: where what was sent began; the digest is of the whole."""
        result = _require_artifact(task)
        value = {"sha256": result.sha256, "size": result.size, **({"from": offset} if offset else {})}
        draft = self._ledger.begin()
        draft.audit(author, AuditAction.DOWNLOADED, f"TASK:{task.id}", message, value)
        await draft.commit()


def _sent(offset: int) -> str:
    return f"sent from byte {offset} to its last" if offset else "sent to its last byte"


def _require_artifact(task: Task) -> Result:
    if task.result is None:
        words = f" {task.reason}" if task.reason else ""
        raise ConflictError(f"Task {task.id} is {task.status}: it has no result.{words}", "Wait until it is DONE.")
    if task.result.signature is not None:
        raise ConflictError("The outcome of a signing task is a string.", "It stands in the task: sealyard show.")
    return task.result


def _require_valid_link(task: Task) -> str:
    result = _require_artifact(task)
    assert task.status is TaskStatus.DONE
    if result.state is ResultState.GONE:
        raise ResultGoneError(
            f"The result of task {task.id} was removed at the end of its retention period.", "Ask for it again."
        )
    if result.state is ResultState.EXPIRED or result.link is None:
        raise ResultExpiredError(f"The link of task {task.id} has expired.", f"Renew it: sealyard renew {task.id}")
    return result.link
