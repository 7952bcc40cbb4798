"""API calls for the audit log."""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator

from sealyard.client.http.errors import RetryLaterError
from sealyard.client.http.requests import ApiCalls, json_call, query_params
from sealyard.client.http.transport import Request
from sealyard.client.protocol import ProgressCallback
from sealyard.model.audit import AuditEntry, AuditFilter, AuditReport
from sealyard.model.errors import ServerUnreachableError
from sealyard.model.requests import AuditPage

VERIFY_TIMEOUT = 600.0
"""Seconds to wait while the server verifies the whole audit log."""


class AuditCalls(ApiCalls):
    """API calls for reading, verifying, proving and exporting the audit log."""

    async def audit(self, filters: AuditFilter, *, below: int | None = None, limit: int = 100) -> AuditPage:
        query = {**_filter_params(filters), **query_params(cursor=below, size=limit)}
        response = await self._sender.read("/auditlog", query)
        cursor = response.headers.get("x-se-cursor")
        entries = self._sender.decode(response, tuple[AuditEntry, ...])
        return AuditPage(entries=entries, next=int(cursor) if cursor is not None else None)

    async def verify_audit(
        self, *, checkpoint: str | None = None, progress: ProgressCallback | None = None
    ) -> AuditReport:
        body = {"checkpoint": checkpoint}
        request = json_call("POST", "/auditlog/verification", body, read_timeout=VERIFY_TIMEOUT)
        report = self._sender.decode(await self._sender.send_retrying(request, repeatable=True), AuditReport)
        if progress is not None:
            progress(report.size, report.size)
        return report

    async def prove_audit_entry(self, seq: int) -> str:
        return (await self._sender.read(f"/auditlog/inclusionProof/{seq}")).body.decode()

    async def prove_audit_consistency(self, old_size: int, size: int | None = None) -> str:
        query = {"from": str(old_size), **query_params(to=size)}
        return (await self._sender.read("/auditlog/consistencyProof", query)).body.decode()

    async def audit_key(self) -> str:
        return (await self._sender.read("/auditlog/key")).body.decode()

    async def export_audit(self, kind: str, filters: AuditFilter | None = None) -> AsyncGenerator[str, None]:
        """Yield the audit log as text. Lost connections are retried only until the first data arrives.

        Later retries would repeat text that was already yielded.
        """
        query = {"kind": kind, **_filter_params(filters or AuditFilter())}
        request = Request(method="GET", path="/auditlog/export", query=query)
        backoff = self._sender.new_backoff()
        decoder = codecs.getincrementaldecoder("utf-8")()
        data_received = False
        while True:
            try:
                async with self._sender.stream(request) as stream:
                    async for chunk in stream.chunks():
                        data_received = True
                        yield decoder.decode(chunk)
                return
            except (ServerUnreachableError, RetryLaterError) as error:
                if data_received:
                    raise
                await self._sender.wait(backoff, error)


def _filter_params(filters: AuditFilter) -> dict[str, str]:
    return query_params(
        resourceType=filters.resource_type,
        resource=filters.resource,
        author=filters.author,
        change=filters.change,
        since=filters.since,
        until=filters.until,
        text=filters.text,
    )
