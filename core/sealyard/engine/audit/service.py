"""Use cases of the audit log: pages, verification, export, and the entries for refused requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import msgspec

from sealyard.audit.export import export_csv, export_jsonl
from sealyard.audit.reader import AuditReader
from sealyard.audit.verify import verify_log
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.model.access import Action, ResourceType
from sealyard.model.audit import AuditAction, AuditEntry, AuditFilter, AuditReport
from sealyard.model.errors import NotFoundError, PermissionDeniedError, SealyardError, UsageError
from sealyard.model.requests import AuditPage
from sealyard.model.safe_text import escape_text

MAX_PAGE_SIZE = 1000
MAX_RESOURCE_LENGTH = 200
MAX_MESSAGE_LENGTH = 1000
"""Limits, in characters, on what an entry for a refused request repeats of the request: a client controls its length,
and entries are never deleted."""

EXPORTS = {"jsonl": export_jsonl, "csv": export_csv}


class AuditService:
    """Reads the log's files, and the committed entries that are still in the journal. Records refusals."""

    def __init__(self, repository: Repository, permissions: Permissions, folder: Path) -> None:
        self._repository = repository
        self._permissions = permissions
        self._folder = folder

    async def page(self, subject: str, match: AuditFilter, below: int | None, limit: int) -> AuditPage:
        """Return up to ``limit`` matching entries, newest first.

        ``below``: only entries with a lower sequence number; None for the newest. Raises :class:`UsageError` if
        ``limit`` is out of range.
        """
        self._require(subject)
        if not 1 <= limit <= MAX_PAGE_SIZE:
            raise UsageError(f"A page must have 1 to {MAX_PAGE_SIZE} entries.")
        entries = await asyncio.to_thread(self._newest_entries, match, below, limit)
        return AuditPage(entries=entries, next=entries[-1].seq if len(entries) == limit else None)

    async def verify(
        self, subject: str, checkpoint: str | None, progress: Callable[[int, int], None] | None
    ) -> AuditReport:
        """Verify the log's files against their checkpoints, and against ``checkpoint`` (a signed note) if one is given.

        Entries that are still in the journal count as not yet covered by a checkpoint. ``progress`` is called with the
        number of entries verified so far and the total: from the verifying thread, and a last time on the event loop.
        Raises :class:`AuditVerificationError`.
        """
        self._require(subject)
        size, _ = self.sizes()

        def report_progress(done: int) -> None:
            if progress is not None:
                progress(done, size)

        report = await asyncio.to_thread(verify_log, self._folder, checkpoint=checkpoint, progress=report_progress)
        report_progress(size)
        unflushed = self._unflushed_entries(report.size)
        return msgspec.structs.replace(report, size=report.size + len(unflushed))

    async def export(self, subject: str, kind: str) -> AsyncGenerator[str, None]:
        """Yield the whole log as text, in batches of lines, oldest entry first.

        ``kind``: a key of :data:`EXPORTS`; raises :class:`UsageError` for any other.
        """
        self._require(subject)
        if kind not in EXPORTS:
            raise UsageError(f"Unknown export format {kind[:80]!r}.", f"Use one of: {', '.join(EXPORTS)}.")
        lines = EXPORTS[kind](self._all_entries())
        while True:
            batch = await asyncio.to_thread(_next_batch, lines)
            if not batch:
                return
            yield batch

    def sizes(self) -> tuple[int, int]:
        """Return the number of entries, and how many of them a checkpoint covers."""
        log = AuditReader(self._folder)
        size = log.size
        return size + len(self._unflushed_entries(size)), log.checkpointed_size

    async def record_refusal(self, subject: str, resource: str, error: SealyardError) -> None:
        """Commit an audit entry for a request that raised ``error``; it is durable on return.

        Permission failures are recorded as refused, all others as failed.
        """
        refused = isinstance(error, PermissionDeniedError) or (isinstance(error, NotFoundError) and error.hidden)
        work = self._repository.begin()
        change = AuditAction.REFUSED if refused else AuditAction.FAILED
        message = escape_text(error.message, MAX_MESSAGE_LENGTH)
        resource = escape_text(resource, MAX_RESOURCE_LENGTH)
        work.audit(escape_text(subject, MAX_RESOURCE_LENGTH), change, resource, message, None, error.code)
        await work.commit()

    def _require(self, subject: str) -> None:
        self._permissions.require_type(subject, Action.VIEW, ResourceType.AUDIT_LOG)

    def _unflushed_entries(self, size: int) -> list[AuditEntry]:
        """Return the committed entries that are not in the log's files, which contain the first ``size`` entries."""
        pending = (msgspec.convert(document, AuditEntry) for document in self._repository.store.pending_audit())
        return [entry for entry in pending if entry.seq >= size]

    def _newest_entries(self, match: AuditFilter, below: int | None, limit: int) -> tuple[AuditEntry, ...]:
        log = AuditReader(self._folder)
        size = log.size
        unflushed = [entry for entry in reversed(self._unflushed_entries(size)) if below is None or entry.seq < below]
        entries = [entry for entry in unflushed if match.matches(entry)][:limit]
        if len(entries) < limit:
            after = below if below is not None and below < size else None
            entries += log.entries(match, after=after, limit=limit - len(entries))
        return tuple(entries)

    def _all_entries(self) -> Iterator[AuditEntry]:
        size = 0
        for entry in AuditReader(self._folder).all_entries():
            size = entry.seq + 1
            yield entry
        yield from self._unflushed_entries(size)


def _next_batch(lines: Iterator[str], size: int = 1000) -> str:
    return "".join(line for line, _ in zip(lines, range(size), strict=False))
