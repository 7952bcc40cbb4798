"""API calls for creating tasks, following them and deciding on them."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import Any

from sealyard.client.http.events import EventStream
from sealyard.client.http.requests import RequestSender, is_outcome_unknown, json_call, path_segment, query_params
from sealyard.client.http.transport import Request
from sealyard.client.http.uploads import UploadCalls
from sealyard.client.task_wait import wait_within
from sealyard.model.base import SecretStruct
from sealyard.model.errors import SealyardError, ServerUnreachableError
from sealyard.model.events import EventsMissed, TaskChanged
from sealyard.model.requests import (
    ApprovalReview,
    EncryptionRequest,
    PackageRequest,
    RequestCheck,
    SigningRequest,
    TaskCounts,
    TaskFilter,
    TaskPage,
    WorkspaceInfo,
)
from sealyard.model.tasks import DecisionOrigin, InputFile, Task, TaskStatus, Verdict

MAX_PAGE_SIZE = 1000
"""Maximum number of tasks that the server returns per page."""


class _DecisionBody(SecretStruct, frozen=True, kw_only=True):
    decision: Verdict
    reason: str
    digest: str | None
    origin: DecisionOrigin
    one_time_password: str | None


class TaskCalls(UploadCalls):
    """API calls for tasks, including uploads and waiting for events."""

    def __init__(self, sender: RequestSender) -> None:
        super().__init__(sender)
        self._event_stream = EventStream(sender)

    # ---- create

    async def create_package(self, request: PackageRequest) -> Task:
        body = {
            "deviceConfigId": request.config,
            "inputIds": self.upload_ids(request.firmware),
            "metadataIds": self.upload_ids(request.metadata),
            "name": request.name,
            "contentType": request.content_type,
        }
        return await self._create_task("/packagingTask", body, request.client_token)

    async def create_encryption(self, request: EncryptionRequest) -> Task:
        body = {
            "deviceConfigId": request.config,
            "inputId": self.upload_ids((request.file,))[0],
            "name": request.name,
            "contentType": request.content_type,
        }
        if request.encryption_key:
            body["encryptionKey"] = request.encryption_key
        return await self._create_task("/encryptionTask", body, request.client_token)

    async def create_signing(self, request: SigningRequest) -> Task:
        return await self._create_task("/signingTask", _signing_body(request), request.client_token)

    async def _create_task(self, path: str, body: dict[str, Any], client_token: str | None) -> Task:
        """Send the request with an idempotency key, so that a repeated request returns the same task."""
        headers = _idempotency_header(client_token or secrets.token_urlsafe(24))
        request = json_call("POST", path, body, headers=headers)
        return self._sender.decode(await self._sender.send_retrying(request, repeatable=True), Task)

    # ---- check

    async def check_package(self, request: PackageRequest) -> RequestCheck:
        body = {
            "deviceConfigId": request.config,
            "inputs": [_describe_file(file) for file in request.firmware],
            "metadata": [_describe_file(file) for file in request.metadata],
            "name": request.name,
            "contentType": request.content_type,
        }
        return await self._check("/packagingTask/check", body, request.client_token)

    async def check_encryption(self, request: EncryptionRequest) -> RequestCheck:
        body = {
            "deviceConfigId": request.config,
            "input": _describe_file(request.file),
            "name": request.name,
            "contentType": request.content_type,
        }
        if request.encryption_key:
            body["encryptionKey"] = request.encryption_key
        return await self._check("/encryptionTask/check", body, request.client_token)

    async def check_signing(self, request: SigningRequest) -> RequestCheck:
        return await self._check("/signingTask/check", _signing_body(request), request.client_token)

    async def _check(self, path: str, body: dict[str, Any], client_token: str | None) -> RequestCheck:
        request = json_call("POST", path, body, headers=_idempotency_header(client_token))
        return self._sender.decode(await self._sender.send_retrying(request, repeatable=True), RequestCheck)

    # ---- read

    async def task(self, task_id: str) -> Task:
        return await self._sender.get(f"/task/{path_segment(task_id)}", Task)

    async def tasks(self, filters: TaskFilter, *, after: str | None = None, limit: int = 100) -> TaskPage:
        query = query_params(
            status=filters.status,
            deviceConfigId=filters.config,
            createdBy=filters.created_by,
            resultState=filters.result_state,
            text=filters.text,
            awaitingMyApproval=filters.awaiting_my_approval,
            oldestFirst=filters.oldest_first,
            cursor=after,
            size=min(limit, MAX_PAGE_SIZE),
        )
        response = await self._sender.read(f"/{filters.kind}Task" if filters.kind else "/task", query)
        total = response.headers.get("x-se-total")
        return TaskPage(
            tasks=self._sender.decode(response, tuple[Task, ...]),
            next=response.headers.get("x-se-cursor"),
            total=int(total) if total is not None else None,
        )

    async def counts(self) -> TaskCounts:
        return await self._sender.get("/task/counts", TaskCounts)

    async def review(self, task_id: str) -> ApprovalReview:
        return await self._sender.get(f"/task/{path_segment(task_id)}/review", ApprovalReview)

    async def wait(self, task_id: str, *, within: float | None = None, or_waiting: bool = False) -> Task:
        task = await self.task(task_id)
        return await wait_within(within, task.id, self._wait_for(task, or_waiting))

    async def _wait_for(self, task: Task, or_waiting: bool) -> Task:
        """Wait until the task is final or, with ``or_waiting``, waits for approvals.

        Retries without a time limit while the server is unreachable.
        """
        cursor = await self._event_stream.cursor()
        async with contextlib.aclosing(self._event_stream.events(cursor)) as events:
            task = await self._load_task(task.id)
            while not (task.status.is_final or (or_waiting and task.status is TaskStatus.WAITING)):
                event = await anext(events)
                if isinstance(event, EventsMissed) or (isinstance(event, TaskChanged) and event.task_id == task.id):
                    task = await self._load_task(task.id)
        return task

    async def _load_task(self, task_id: str) -> Task:
        response = await self._sender.read(f"/task/{path_segment(task_id)}", backoff=self._sender.new_endless_backoff())
        return self._sender.decode(response, Task)

    # ---- decide

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
        body = _DecisionBody(
            decision=verdict, reason=reason, digest=digest, origin=origin, one_time_password=one_time_password
        )

        def is_recorded(task: Task, subject: str) -> bool:
            expected_approval = (subject, verdict, digest or task.approval_digest)
            return any(
                (approval.by, approval.verdict, approval.digest) == expected_approval
                and task.revocation_of(position) is None
                for position, approval in enumerate(task.approvals)
            )

        return await self._post_action(
            task_id, json_call("POST", f"/task/{path_segment(task_id)}/approval", body), is_recorded
        )

    async def withdraw(self, task_id: str, reason: str) -> Task:
        request = json_call("POST", f"/task/{path_segment(task_id)}/withdrawal", {"reason": reason})
        return await self._post_action(task_id, request, _is_cancelled)

    async def cancel(self, task_id: str) -> Task:
        request = Request(method="POST", path=f"/task/{path_segment(task_id)}/cancellation")
        return await self._post_action(task_id, request, _is_cancelled)

    async def _post_action(self, task_id: str, request: Request, is_applied: Callable[[Task, str], bool]) -> Task:
        """Send a request that changes a task, and return the task.

        If the response is lost, load the task and call ``is_applied`` with the task and the subject to find out whether
        the change was made. If not, repeat the request.
        """
        backoff = self._sender.new_backoff()
        response_lost = False
        while True:
            try:
                return self._sender.decode(await self._sender.send_retrying(request), Task)
            except SealyardError as error:
                may_retry = isinstance(error, ServerUnreachableError) and is_outcome_unknown(error)
                response_lost = response_lost or may_retry
                if not response_lost:
                    raise
                task = await self.task(task_id)
                if is_applied(task, (await self._sender.get("/workspace", WorkspaceInfo)).subject):
                    return task
                if not may_retry:
                    raise
                await backoff.wait(error)


def _signing_body(request: SigningRequest) -> dict[str, Any]:
    return {
        "deviceConfigId": request.config,
        "inputBase64": request.message,
        "isDigest": request.is_digest,
        "fileName": request.file_name,
        "name": request.name,
        "contentType": request.content_type,
    }


def _describe_file(file: InputFile) -> dict[str, str | int]:
    return {"name": file.name, "size": file.size, "sha256": file.sha256}


def _idempotency_header(client_token: str | None) -> dict[str, str]:
    return {"Idempotency-Key": client_token} if client_token else {}


def _is_cancelled(task: Task, _: str) -> bool:
    return task.status is TaskStatus.CANCELLED
