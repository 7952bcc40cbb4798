"""Deliver the results of finished tasks, completely or from an offset, and renew their download links.

The link is verified for each download. It can be renewed until the result's retention period ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from sealyard.engine.state.links import DownloadLinks
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import KEYS
from sealyard.engine.tasks.query import TaskQueries
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    NotFoundError,
    PermissionDeniedError,
    ResultExpiredError,
    ResultGoneError,
    UsageError,
)
from sealyard.model.grants import Grant
from sealyard.model.hints import Hint, HintCode
from sealyard.model.results import link_expiry, require_artifact, with_new_link
from sealyard.model.tasks import Result, ResultState, Task, TaskStatus
from sealyard.storage.artifacts import ArtifactStore, ResultId

CHUNK = 4 * 1024 * 1024

GRANT_SECONDS = 60
"""How long a link to the object store is valid. A download that began before may finish later."""

LINK_BEARER = "SYSTEM:link"
"""The author of audit entries for downloads that only a link authorizes, because the downloader is unknown."""


class ResultDelivery:
    """Delivers the results of tasks. A subject that may view a task may download its result."""

    def __init__(
        self, repository: Repository, queries: TaskQueries, links: DownloadLinks, artifacts: ArtifactStore
    ) -> None:
        self._repository = repository
        self._queries = queries
        self._links = links
        self._artifacts = artifacts

    async def renew(self, subject: str, task_id: str) -> Task:
        """Replace the download link of the task's result, and return the task.

        The new link expires after the link lifetime of the device configuration, or at the end of the result's
        retention period if that is earlier. Raises :class:`ConflictError` if the task has no artifact, and
        :class:`ResultGoneError` if the artifact has been removed.
        """
        task = self._queries.get(subject, task_id)
        result = require_artifact(task)
        now = self._repository.clock.now()
        device = self._repository.device(task.config_id, task.config_version)
        assert result.retained_until is not None  # every artifact has a retention period
        expires_at = link_expiry(now, device.link_ttl_seconds, result.retained_until)
        renewed_result = with_new_link(result, self._links.sign(task.id, expires_at), expires_at, now)
        unit_of_work = self._repository.begin()
        unit_of_work.audit(
            subject,
            AuditAction.RENEWED,
            f"TASK:{task.id}",
            "link renewed",
            _link_value(renewed_result),
            old_value=_link_value(result),
        )
        renewed_task = unit_of_work.change_task(task.id, result=renewed_result)
        await unit_of_work.commit()
        return renewed_task

    async def download(self, subject: str, task_id: str, offset: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of the task's result from ``offset`` on.

        The link is verified when the download begins; a download in progress may finish after the link expires. Raises
        :class:`UsageError` if ``offset`` is negative.
        """
        if offset < 0:
            raise UsageError("A download offset cannot be negative.", "Use an offset of 0 or more.")
        async for chunk in self._read_result(self._get_with_valid_link(subject, task_id), offset):
            yield chunk

    async def grant(self, subject: str, task_id: str, offset: int) -> Grant | None:
        """Return a grant to read the task's result from the object store; None if it is not in one.

        Checks the same as :meth:`download`, and audits that the result from ``offset`` on was handed out: the object
        store does not report what it sends. Raises :class:`ResultGoneError` if the object store has no result.
        """
        return await self._grant(
            subject, self._get_with_valid_link(subject, task_id), offset, "handed out through the object store"
        )

    def _get_with_valid_link(self, subject: str, task_id: str) -> Task:
        task = self._queries.get(subject, task_id)
        if self._links.verify(_require_valid_link(task), self._repository.clock.now()) != task.id:
            raise PermissionDeniedError("This link belongs to another task.", "Request a new link.")
        return task

    async def _grant(self, author: str, task: Task, offset: int, message: str) -> Grant | None:
        remote = self._artifacts.remote
        if remote is None:
            return None
        file_name = require_artifact(task).file_name
        grant = await asyncio.to_thread(remote.grant_download, ResultId.of(task), file_name, GRANT_SECONDS)
        await self._audit_download(author, task, message, offset)
        return grant

    async def _read_result(self, task: Task, offset: int) -> AsyncGenerator[bytes, None]:
        file = await asyncio.to_thread(self._artifacts.open_result, ResultId.of(task), offset)
        with file:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk

    async def record_download(self, subject: str, task_id: str) -> None:
        """Audit that a client reports a complete and verified download.

        Only the client knows this; :meth:`record_transfer` records what was sent.
        """
        await self._audit_download(
            subject, self._queries.get(subject, task_id), f"{subject} reports a complete and verified download"
        )

    async def record_transfer(self, subject: str, task_id: str, offset: int) -> None:
        """Audit that the result was sent completely, from ``offset`` on.

        Whether it was also received is known to the client only; see :meth:`record_download`.
        """
        await self._audit_download(subject, self._queries.get(subject, task_id), _format_transfer(offset), offset)

    def resolve_link(self, link: str) -> Task:
        """Return the task whose result a link gives access to. Anyone who has the link may use it.

        Raises :class:`PermissionDeniedError` if this workspace did not sign the link, :class:`ResultExpiredError` if it
        has expired, and :class:`ResultGoneError` if the artifact has been removed.
        """
        now = self._repository.clock.now()
        try:
            return self._load_with_artifact(self._links.verify(link, now))
        except ResultExpiredError as error:
            self._load_with_artifact(self._links.task_id_of(link))
            raise error

    def download_by_link(self, link: str, offset: int) -> AsyncGenerator[bytes, None]:
        """Like :meth:`download`, authorized by the link alone."""
        return self._read_result(self.resolve_link(link), offset)

    async def grant_by_link(self, link: str, offset: int) -> Grant | None:
        """Like :meth:`grant`, authorized by the link alone."""
        return await self._grant(
            LINK_BEARER, self.resolve_link(link), offset, "handed out through the object store, by link"
        )

    async def record_link_transfer(self, link: str, offset: int) -> None:
        """Like :meth:`record_transfer`, for a download by link."""
        task = self._repository.task(self._links.task_id_of(link))
        await self._audit_download(LINK_BEARER, task, f"{_format_transfer(offset)} by link", offset)

    def certificate(self, subject: str, task_id: str) -> str:
        """Return the certificate (PEM) of the key version that signs the task's result.

        Raises :class:`NotFoundError` if the task has no signing key or the key version has no certificate.
        """
        task = self._queries.get(subject, task_id)
        if task.signing_key is None:
            raise NotFoundError(f"Task {task.id} has no signature.", "Choose a packaging or signing task.")
        key = self._repository.get(KEYS, task.signing_key.uri)
        key_version = key.version(task.signing_key.version) if key is not None else None
        if key_version is None or key_version.certificate is None:
            raise NotFoundError(f"The workspace has no certificate for {task.signing_key.uri}.")
        return key_version.certificate

    def _load_with_artifact(self, task_id: str) -> Task:
        """Return the task in its current state, after checking that its artifact has not been removed.

        Does not check the link. Raises :class:`ResultGoneError` if the artifact has been removed, and
        :class:`ConflictError` if the task has none.
        """
        task = self._queries.refresh(self._repository.task(task_id))
        if require_artifact(task).state is ResultState.GONE:
            _require_valid_link(task)
        return task

    async def _audit_download(self, author: str, task: Task, message: str, offset: int = 0) -> None:
        """Audit a download that began at ``offset``. The audit entry contains the digest of the whole artifact."""
        result = require_artifact(task)
        new_value = {"sha256": result.sha256, "size": result.size, **({"from": offset} if offset else {})}
        unit_of_work = self._repository.begin()
        unit_of_work.audit(author, AuditAction.DOWNLOADED, f"TASK:{task.id}", message, new_value)
        await unit_of_work.commit()


def _link_value(result: Result) -> dict[str, str]:
    """Return the fields of a result's link for the audit log, without the link itself, which is a secret."""
    assert result.expires_at is not None  # every artifact has had a link
    return {"expiresAt": result.expires_at.isoformat()}


def _format_transfer(offset: int) -> str:
    return f"sent from byte {offset} to the end" if offset else "sent completely"


def _require_valid_link(task: Task) -> str:
    """Return the download link of the task's result.

    Raises :class:`ResultGoneError` if the artifact has been removed, :class:`ResultExpiredError` if the link has
    expired, and :class:`ConflictError` if the task has no artifact.
    """
    result = require_artifact(task)
    assert task.status is TaskStatus.DONE
    if result.state is ResultState.GONE:
        raise ResultGoneError(
            f"The result of task {task.id} was removed at the end of its retention period.", "Submit the request again."
        )
    if result.state is ResultState.EXPIRED or result.link is None:
        raise ResultExpiredError(
            f"The download link of task {task.id} has expired.", Hint.of(HintCode.RENEW_LINK, task_id=task.id)
        )
    return result.link
