"""Routes for the audit log: entries, verification, proofs and export."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated, Any, Literal

from litestar import Controller, Request, Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Stream

from sealyard.model.access import device_resource
from sealyard.model.audit import AuditAction, AuditEntry, AuditFilter, AuditReport, parse_audit_resource_type
from sealyard.model.errors import NotFoundError, UsageError
from sealyard.server.api.pagination import CLIENT_PAGE_SIZE, Cursor, Size, paginated_response
from sealyard.server.api.wire import AuditEntryResponse, CheckpointBody, audit_entry_response
from sealyard.server.auth.caller import CallerDependency
from sealyard.server.http.head import empty_body, is_head

ApiRequest = Request[Any, Any, Any]

ResourceTypeQuery = Annotated[str, QueryParameter(name="resourceType")]

OldSizeQuery = Annotated[int, QueryParameter(name="from", ge=1, lt=2**53)]
NewSizeQuery = Annotated[int | None, QueryParameter(name="to", ge=1, lt=2**53)]

MEDIA_TYPES = {"jsonl": "application/jsonl", "csv": "text/csv"}


class AuditListController(Controller):
    """Endpoint that lists audit entries, at the path documented by the Sign & Encrypt API."""

    path = "/acl/auditlog"
    tags = ["audit log"]

    @get("/", summary="List entries, newest first")
    async def entries(
        self,
        request: ApiRequest,
        caller: CallerDependency,
        size: Size = 100,
        cursor: Cursor = None,
        resource_type: ResourceTypeQuery = "",
        resource: FromQuery[str] = "",
        author: FromQuery[str] = "",
        change: FromQuery[AuditAction | None] = None,
        since: FromQuery[datetime | None] = None,
        until: FromQuery[datetime | None] = None,
        text: FromQuery[str] = "",
    ) -> Response[list[AuditEntryResponse]]:
        filters = _build_filter(resource_type, resource, author, change, since, until, text)
        return await _list_page(request, caller, filters, size, cursor)


class AuditController(AuditListController):
    """Endpoints that list, return, prove, export and verify audit entries."""

    path = "/auditlog"

    @get("/deviceconfigs/{config_id:str}", summary="List entries of a device configuration")
    async def of_device(
        self,
        request: ApiRequest,
        caller: CallerDependency,
        config_id: FromPath[str],
        size: Size = 100,
        cursor: Cursor = None,
    ) -> Response[list[AuditEntryResponse]]:
        return await _list_page(request, caller, AuditFilter(resource=device_resource(config_id)), size, cursor)

    @get("/resources/{resource_type:str}", summary="List entries of a resource type")
    async def of_type(
        self,
        request: ApiRequest,
        caller: CallerDependency,
        resource_type: FromPath[str],
        size: Size = 100,
        cursor: Cursor = None,
    ) -> Response[list[AuditEntryResponse]]:
        filters = AuditFilter(resource_type=parse_audit_resource_type(resource_type))
        return await _list_page(request, caller, filters, size, cursor)

    @get("/resources/{resource_type:str}/{resource_id:str}", summary="List entries of a resource")
    async def of_resource(
        self,
        request: ApiRequest,
        caller: CallerDependency,
        resource_type: FromPath[str],
        resource_id: FromPath[str],
        size: Size = 100,
        cursor: Cursor = None,
    ) -> Response[list[AuditEntryResponse]]:
        filters = AuditFilter(resource=f"{parse_audit_resource_type(resource_type)}:{resource_id}")
        return await _list_page(request, caller, filters, size, cursor)

    @get("/{seq:int}", summary="Return an entry by number")
    async def entry(self, caller: CallerDependency, seq: FromPath[int]) -> AuditEntryResponse:
        entries = (await caller.client.audit(AuditFilter(), below=_parse_seq(seq) + 1, limit=1)).entries
        if not entries or entries[0].seq != seq:
            raise NotFoundError(f"Audit entry {seq} not found.", "List the entries to see the newest number.")
        return audit_entry_response(entries[0])

    @get(
        "/inclusionProof/{seq:int}",
        summary="Prove that a checkpoint covers an entry (C2SP tlog-proof)",
        media_type="text/plain",
    )
    async def prove_entry(self, caller: CallerDependency, seq: FromPath[int]) -> str:
        return await caller.client.prove_audit_entry(_parse_seq(seq))

    @get(
        "/consistencyProof",
        summary="Prove that the log of a checkpoint extends an older one (C2SP add-checkpoint request)",
        media_type="text/plain",
    )
    async def prove_consistency(
        self, caller: CallerDependency, old_size: OldSizeQuery, size: NewSizeQuery = None
    ) -> str:
        return await caller.client.prove_audit_consistency(old_size, size)

    @get("/key", summary="Return the public key that verifies checkpoints (PEM)", media_type="application/x-pem-file")
    async def key(self, caller: CallerDependency) -> str:
        return await caller.client.audit_key()

    @get("/export", summary="Export entries, oldest first", media_type="text/plain")
    async def export(
        self,
        request: ApiRequest,
        caller: CallerDependency,
        kind: FromQuery[Literal["jsonl", "csv"]] = "jsonl",
        resource_type: ResourceTypeQuery = "",
        resource: FromQuery[str] = "",
        author: FromQuery[str] = "",
        change: FromQuery[AuditAction | None] = None,
        since: FromQuery[datetime | None] = None,
        until: FromQuery[datetime | None] = None,
        text: FromQuery[str] = "",
    ) -> Stream:
        filters = _build_filter(resource_type, resource, author, change, since, until, text)
        lines = caller.client.export_audit(kind, filters)
        first_line = await anext(lines, "")

        # The first line is read before the response starts, so that an error still determines the HTTP status.
        async def all_lines() -> AsyncGenerator[str, None]:
            async with contextlib.aclosing(lines):
                yield first_line
                async for line in lines:
                    yield line

        if is_head(request):
            await lines.aclose()
            return Stream(empty_body(), media_type=MEDIA_TYPES[kind])
        return Stream(all_lines(), media_type=MEDIA_TYPES[kind])

    @post("/verification", status_code=200, summary="Verify the audit log")
    async def verify(self, caller: CallerDependency, data: JSONBody[CheckpointBody]) -> AuditReport:
        return await caller.client.verify_audit(checkpoint=data.checkpoint)


def _build_filter(
    resource_type: str,
    resource: str,
    author: str,
    change: AuditAction | None,
    since: datetime | None,
    until: datetime | None,
    text: str,
) -> AuditFilter:
    return AuditFilter(
        resource_type=parse_audit_resource_type(resource_type) if resource_type else "",
        resource=resource,
        author=author,
        change=change,
        since=_require_timezone(since),
        until=_require_timezone(until),
        text=text,
    )


async def _list_page(
    request: ApiRequest, caller: CallerDependency, filters: AuditFilter, size: int, cursor: str | None
) -> Response[list[AuditEntryResponse]]:
    below = _parse_seq(cursor) if cursor is not None else None
    entries: list[AuditEntry] = []
    while True:
        page = await caller.client.audit(filters, below=below, limit=min(size - len(entries), CLIENT_PAGE_SIZE))
        entries += page.entries
        below = page.next
        if below is None or len(entries) >= size:
            break
    next_cursor = str(below) if below is not None else None
    return paginated_response(request, [audit_entry_response(entry) for entry in entries], next_cursor)


def _parse_seq(text: str | int) -> int:
    digits = str(text)
    # Truncate first: int() raises ValueError for numbers with thousands of digits.
    number = int(digits[:20]) if digits.isascii() and digits.isdigit() else -1
    if not 0 <= number < 2**62:
        raise UsageError("Invalid cursor.", "Use X-SE-CURSOR of the previous page.")
    return number


def _require_timezone(moment: datetime | None) -> datetime | None:
    """Return ``moment`` unchanged. Raises :class:`UsageError` if it has no time zone."""
    if moment is not None and moment.tzinfo is None:
        raise UsageError("Missing time zone.", "Write times like 2030-12-31T18:00:00Z.")
    return moment
