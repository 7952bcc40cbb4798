"""Asking a server for tasks, following and deciding on them."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Any

from sealyard.client.http.events import EventStream
from sealyard.client.http.requests import RequestSender, json_call, outcome_unknown, path_segment, query_params
from sealyard.client.http.transport import Request
from sealyard.client.http.uploads import UploadCalls
from sealyard.model.base import SecretStruct
from sealyard.model.errors import SealyardError, ServerUnreachableError, WaitTimeoutError
from sealyard.model.events import EventsMissed, TaskChanged
from sealyard.model.requests import (
    ApprovalReview,
    EncryptionRequest,
    PackageRequest,
    SigningRequest,
    TaskCounts,
    TaskFilter,
    TaskPage,
    WorkspaceInfo,
)
from sealyard.model.tasks import DecisionOrigin, Task, TaskStatus, Verdict

LARGEST_PAGE = 1000


class _Decision(SecretStruct, frozen=True, kw_only=True):
    decision: Verdict
    reason: str
    digest: str | None
    origin: DecisionOrigin
    one_time_password: str | None


class TaskCalls(UploadCalls):
    def __init__(self, calls: RequestSender) -> None:
        super().__init__(calls)
        self._feed = EventStream(calls)

    # ---- asking

    async def create_package(self, request: PackageRequest) -> Task:
        body = {
            "deviceConfigId": request.config,
            "inputIds": self.ids(request.firmware),
            "metadataIds": self.ids(request.metadata),
            "name": request.name,
            "contentType": request.content_type,
        }
        return await self._create("/packagingTask", body, request.client_token)

    async def create_encryption(self, request: EncryptionRequest) -> Task:
        body = {
            "deviceConfigId": request.config,
            "inputId": self.ids((request.file,))[0],
            "name": request.name,
            "contentType": request.content_type,
        }
        return await self._create("/encryptionTask", body, request.client_token)

    async def create_signing(self, request: SigningRequest) -> Task:
        body = {
            "deviceConfigId": request.config,
            "inputBase64": request.message,
            "isDigest": request.is_digest,
            "fileName": request.file_name,
            "name": request.name,
            "contentType": request.content_type,
        }
        return await self._create("/signingTask", body, request.client_token)

    async def _create(self, path: str, body: dict[str, Any], token: str | None) -> Task:
        """Under a token always: asked for twice, it is the same task."""
        call = json_call("POST", path, body, headers={"Idempotency-Key": token or secrets.token_urlsafe(24)})
        return self._calls.decoded(await self._calls.send_retrying(call, repeatable=True), Task)

    # ---- looking

    async def task(self, task_id: str) -> Task:
        return await self._calls.get(f"/task/{path_segment(task_id)}", Task)

    async def tasks(self, filters: TaskFilter, *, after: str | None = None, limit: int = 100) -> TaskPage:
        asked = query_params(
            status=filters.status,
            deviceConfigId=filters.config,
            createdBy=filters.created_by,
            resultState=filters.result_state,
            text=filters.text,
            awaitingMyApproval=filters.awaiting_my_approval,
            oldestFirst=filters.oldest_first,
            cursor=after,
            size=min(limit, LARGEST_PAGE),
        )
        answer = await self._calls.read(f"/{filters.kind}Task" if filters.kind else "/task", asked)
        total = answer.headers.get("x-se-total")
        return TaskPage(
            tasks=self._calls.decoded(answer, tuple[Task, ...]),
            next=answer.headers.get("x-se-cursor"),
            total=int(total) if total is not None else None,
        )

    async def counts(self) -> TaskCounts:
        return await self._calls.get("/task/counts", TaskCounts)

    async def review(self, task_id: str) -> ApprovalReview:
        return await self._calls.get(f"/task/{path_segment(task_id)}/review", ApprovalReview)

    async def wait(self, task_id: str, *, within: float | None = None, settled: bool = False) -> Task:
        task = await self.task(task_id)
        try:
            async with asyncio.timeout(within):
                return await self._until(task, settled)
        except TimeoutError:
            raise WaitTimeoutError(
                f"Task {task.id} has not ended within {within:g} seconds.", f"Look again: sealyard show {task.id}"
            ) from None

    async def _until(self, task: Task, settled: bool) -> Task:
        """However long the server is away."""
        cursor = await self._feed.cursor()
        async with contextlib.aclosing(self._feed.events(cursor)) as events:
            task = await self._now(task.id)
            while not (task.status.is_final or (settled and task.status is TaskStatus.WAITING)):
                event = await anext(events)
                if isinstance(event, EventsMissed) or (isinstance(event, TaskChanged) and event.task_id == task.id):
                    task = await self._now(task.id)
        return task

    async def _now(self, task_id: str) -> Task:
        answer = await self._calls.read(f"/task/{path_segment(task_id)}", tries=self._calls.new_endless_backoff())
        return self._calls.decoded(answer, Task)

    # ---- deciding

    async def decide(
        self,
        task_id: str,
        verdict: Verdict,
        reason: str = "",
        *,
        digest: str | None = None,
        origin: DecisionOrigin = DecisionOrigin.MACHINE,
        one_time_password: str | None = None,
    ) -> Task:
        body = _Decision(
            decision=verdict, reason=reason, digest=digest, origin=origin, one_time_password=one_time_password
        )

        def decided(task: Task, me: str) -> bool:
            seen = (me, verdict, digest or task.approval_digest)
            return any((each.by, each.verdict, each.digest) == seen for each in task.approvals)

        return await self._post_action(
            task_id, json_call("POST", f"/task/{path_segment(task_id)}/approval", body), decided
        )

    async def withdraw(self, task_id: str, reason: str) -> Task:
        call = json_call("POST", f"/task/{path_segment(task_id)}/withdrawal", {"reason": reason})
        return await self._post_action(task_id, call, _cancelled)

    async def cancel(self, task_id: str) -> Task:
        call = Request(method="POST", path=f"/task/{path_segment(task_id)}/cancellation")
        return await self._post_action(task_id, call, _cancelled)

    async def _post_action(self, task_id: str, call: Request, done: Callable[[Task, str], bool]) -> Task:
        """Where an answer was lost, the task is looked at: ``done`` says whether it happened, told task and asker."""
        tries = self._calls.new_backoff()
        lost = False
        while True:
            try:
                return self._calls.decoded(await self._calls.send_retrying(call), Task)
            except SealyardError as error:
                again = isinstance(error, ServerUnreachableError) and outcome_unknown(error)
                lost = lost or again
                if not lost:
                    raise
                task = await self.task(task_id)
                if done(task, (await self._calls.get("/workspace", WorkspaceInfo)).subject):
                    return task
                if not again:
                    raise
                await tries.wait(error)


def _cancelled(task: Task, _: str) -> bool:
    return task.status is TaskStatus.CANCELLED
