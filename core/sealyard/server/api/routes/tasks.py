"""Routes for tasks of all kinds: list, review, decide and download."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from litestar import Controller, Request, Response, get, post
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody, QueryParameter
from litestar.response import Stream

from sealyard.engine.state.not_found import task_not_found
from sealyard.model.requests import ApprovalReview, TaskCounts, TaskFilter
from sealyard.model.tasks import DecisionOrigin, DetailedStatus, ResultState, Task, TaskKind
from sealyard.server.api.pagination import CLIENT_PAGE_SIZE, MAX_PAGE_SIZE, Cursor, OptionalSize, paginated_response
from sealyard.server.api.ranges import RangeHeaders, file_response
from sealyard.server.api.wire import DecisionBody, ReasonBody, TaskResponse, subtask_response, task_response
from sealyard.server.auth.caller import Caller, CallerDependency
from sealyard.server.http.base_url import public_base_url
from sealyard.server.http.head import is_head
from sealyard.server.settings import S3Settings

TEXT_DESCRIPTION = "text in the name, id, file names, configuration, creator, kind, status, result state or reason"


class TaskController(Controller):
    """Base class of the task controllers. ``kind``: the only kind of task that it handles, or None for all kinds."""

    kind: ClassVar[TaskKind | None] = None
    default_page_size: ClassVar[int] = MAX_PAGE_SIZE

    @get("/", summary="List tasks, newest first")
    async def tasks(
        self,
        request: Request[Any, Any, Any],
        caller: CallerDependency,
        size: OptionalSize = None,
        cursor: Cursor = None,
        status: Annotated[
            DetailedStatus | None, QueryParameter(description="CANCELLED includes REJECTED and WITHDRAWN")
        ] = None,
        kind: FromQuery[TaskKind | None] = None,
        device_config_id: Annotated[str | None, QueryParameter(name="deviceConfigId")] = None,
        created_by: Annotated[str | None, QueryParameter(name="createdBy")] = None,
        result_state: Annotated[ResultState | None, QueryParameter(name="resultState")] = None,
        text: Annotated[
            str, QueryParameter(description="text in the name, id, file names, device, creator, status or reason")
        ] = "",
        awaiting_my_approval: Annotated[bool, QueryParameter(name="awaitingMyApproval")] = False,
        oldest_first: Annotated[bool, QueryParameter(name="oldestFirst")] = False,
    ) -> Response[list[TaskResponse]]:
        filters = TaskFilter(
            status=status,
            kind=self.kind or kind,
            config=device_config_id,
            created_by=created_by,
            result_state=result_state,
            text=text,
            awaiting_my_approval=awaiting_my_approval,
            oldest_first=oldest_first,
        )
        base_url = public_base_url(request)
        size = self.default_page_size if size is None else size
        tasks: list[TaskResponse] = []
        while True:
            page = await caller.client.tasks(filters, after=cursor, limit=min(size - len(tasks), CLIENT_PAGE_SIZE))
            tasks += [task_response(task, base_url) for task in page.tasks]
            cursor = page.next
            if cursor is None or len(tasks) >= size:
                return paginated_response(request, tasks, cursor, page.total)

    @get("/{task_id:str}", summary="Return a task, or a step of a packaging task")
    async def task(
        self, request: Request[Any, Any, Any], caller: CallerDependency, task_id: FromPath[str]
    ) -> TaskResponse:
        parent_id, dot, _ = task_id.rpartition(".")
        if dot:
            return await self._get_subtask(caller, parent_id, task_id, public_base_url(request))
        return task_response(await self._get_task(caller, task_id), public_base_url(request))

    @get("/{task_id:str}/review", summary="Return everything an approver must review")
    async def review(self, caller: CallerDependency, task_id: FromPath[str]) -> ApprovalReview:
        return await caller.client.review((await self._get_task(caller, task_id)).id)

    @post("/{task_id:str}/approval", status_code=202, summary="Approve or reject a task")
    async def decide(
        self,
        request: Request[Any, Any, Any],
        caller: CallerDependency,
        task_id: FromPath[str],
        data: JSONBody[DecisionBody],
    ) -> TaskResponse:
        task = await self._get_task(caller, task_id)
        decided_task = await caller.client.decide(
            task.id,
            data.decision,
            data.reason_text,
            digest=data.digest,
            origin=DecisionOrigin.MACHINE if caller.is_machine else data.effective_origin,
            one_time_password=data.one_time_password,
        )
        return task_response(decided_task, public_base_url(request))

    @post("/{task_id:str}/withdrawal", status_code=200, summary="Withdraw your own task")
    async def withdraw(
        self,
        request: Request[Any, Any, Any],
        caller: CallerDependency,
        task_id: FromPath[str],
        data: JSONBody[ReasonBody],
    ) -> TaskResponse:
        task = await self._get_task(caller, task_id)
        return task_response(await caller.client.withdraw(task.id, data.reason), public_base_url(request))

    @post("/{task_id:str}/cancellation", status_code=202, summary="Cancel a task that has not ended")
    async def cancel(
        self, request: Request[Any, Any, Any], caller: CallerDependency, task_id: FromPath[str]
    ) -> TaskResponse:
        task = await self._get_task(caller, task_id)
        return task_response(await caller.client.cancel(task.id), public_base_url(request))

    @post("/{task_id:str}/renewal", status_code=200, summary="Renew the link of a result")
    async def renew(
        self, request: Request[Any, Any, Any], caller: CallerDependency, task_id: FromPath[str]
    ) -> TaskResponse:
        task = await self._get_task(caller, task_id)
        return task_response(await caller.client.renew(task.id), public_base_url(request))

    @get(
        "/{task_id:str}/download",
        summary="Download the result of a task that is DONE",
        media_type="application/octet-stream",
    )
    async def download(
        self,
        request: Request[Any, Any, Any],
        caller: CallerDependency,
        task_id: FromPath[str],
        range_: Annotated[str | None, HeaderParameter(name="Range", description="bytes=FIRST-LAST")] = None,
        if_range: Annotated[str | None, HeaderParameter(name="If-Range")] = None,
        if_none_match: Annotated[str | None, HeaderParameter(name="If-None-Match")] = None,
        redirect: Annotated[
            bool, QueryParameter(description="false: send the result, even if the server redirects downloads")
        ] = True,
    ) -> Stream:
        task = await self._get_task(caller, task_id)
        s3: S3Settings = request.app.state.s3
        return await file_response(
            task,
            RangeHeaders(range_, if_range, if_none_match),
            lambda offset: caller.client.download(task.id, offset=offset),
            lambda offset: caller.client.report_transferred(task.id, offset=offset),
            head_only=is_head(request),
            redirect=(lambda offset: caller.client.grant_download(task.id, offset=offset))
            if redirect and s3.redirect and not caller.is_local
            else None,
        )

    @post("/{task_id:str}/receipt", status_code=204, summary="Report that you downloaded and verified a result")
    async def confirm_download(self, caller: CallerDependency, task_id: FromPath[str]) -> None:
        await caller.client.report_downloaded((await self._get_task(caller, task_id)).id)

    @get(
        "/{task_id:str}/certificate",
        media_type="application/x-pem-file",
        summary="Return the certificate that verifies the result",
    )
    async def certificate(self, caller: CallerDependency, task_id: FromPath[str]) -> str:
        return await caller.client.certificate((await self._get_task(caller, task_id)).id)

    async def _get_task(self, caller: Caller, task_id: str) -> Task:
        """Return a task. Raises :class:`NotFoundError` if it does not exist or its kind is not :attr:`kind`."""
        task = await caller.client.task(task_id)
        if self.kind is not None and task.kind is not self.kind:
            raise task_not_found(task_id)
        return task

    async def _get_subtask(self, caller: Caller, parent_id: str, subtask_id: str, base_url: str) -> TaskResponse:
        parent = await caller.client.task(parent_id)
        for subtask in parent.subtasks:
            if subtask.id == subtask_id and self.kind in (None, subtask.kind):
                return subtask_response(parent, subtask, base_url)
        raise task_not_found(subtask_id)


class AllTasksController(TaskController):
    """Endpoints for tasks of all kinds. The Sign & Encrypt API does not have this path."""

    path = "/task"
    tags = ["tasks"]
    default_page_size: ClassVar[int] = 100

    @get("/counts", summary="Count the tasks you may see")
    async def counts(self, caller: CallerDependency) -> TaskCounts:
        return await caller.client.counts()
