"""The audit log of a server's workspace."""

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
"""Seconds in which a server should have checked the whole log."""


class AuditCalls(ApiCalls):
    async def audit(self, filters: AuditFilter, *, below: int | None = None, limit: int = 100) -> AuditPage:
        asked = query_params(
            resourceType=filters.resource_type,
            resource=filters.resource,
            author=filters.author,
            change=filters.change,
            since=filters.since,
            until=filters.until,
            text=filters.text,
            cursor=below,
            size=limit,
        )
        answer = await self._calls.read("/auditlog", asked)
        following = answer.headers.get("x-se-cursor")
        entries = self._calls.decoded(answer, tuple[AuditEntry, ...])
        return AuditPage(entries=entries, next=int(following) if following is not None else None)

    async def verify_audit(
        self, *, checkpoint: str | None = None, progress: ProgressCallback | None = None
    ) -> AuditReport:
        body = {"checkpoint": checkpoint}
        call = json_call("POST", "/auditlog/verification", body, answer_within=VERIFY_TIMEOUT)
        report = self._calls.decoded(await self._calls.send_retrying(call, repeatable=True), AuditReport)
        if progress is not None:
            progress(report.size, report.size)
        return report

    async def export_audit(self, kind: str) -> AsyncGenerator[str, None]:
        """A line that breaks ends it: what was written already cannot be taken back."""
        call = Request(method="GET", path="/auditlog/export", query={"kind": kind})
        tries = self._calls.new_backoff()
        decoder = codecs.getincrementaldecoder("utf-8")()
        begun = False
        while True:
            try:
                async with self._calls.stream(call) as stream:
                    async for piece in stream.chunks():
                        begun = True
                        yield decoder.decode(piece)
                return
            except (ServerUnreachableError, RetryLaterError) as error:
                if begun:
                    raise
                await self._calls.wait(tries, error)
