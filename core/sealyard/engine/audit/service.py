"""Looking at the audit log: pages, export, verification, and the entry that every refusal leaves."""

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
LONGEST_MESSAGE = 1000
"""Characters of what was refused, which anybody can make as long as a request may be, and which stay for ever."""

EXPORTS = {"jsonl": export_jsonl, "csv": export_csv}


class AuditService:
    """Reads the log's files, and from the journal those entries that are committed and not yet moved there."""

    def __init__(self, ledger: Repository, rights: Permissions, folder: Path) -> None:
        self._ledger = ledger
        self._rights = rights
        self._folder = folder

    async def page(self, subject: str, match: AuditFilter, below: int | None, limit: int) -> AuditPage:
        self._require(subject)
        if not 1 <= limit <= MAX_PAGE_SIZE:
            raise UsageError(f"A page has 1 to {MAX_PAGE_SIZE} entries.")
        entries = await asyncio.to_thread(self._newest, match, below, limit)
        return AuditPage(entries=entries, next=entries[-1].seq if len(entries) == limit else None)

    async def verify(
        self, subject: str, checkpoint: str | None, progress: Callable[[int, int], None] | None
    ) -> AuditReport:
        """Checks what lies in the log's files; entries still in the journal are counted as not yet sealed."""
        self._require(subject)
        size, _ = self.sizes()

        def told(done: int) -> None:
            if progress is not None:
                progress(done, size)

        report = await asyncio.to_thread(verify_log, self._folder, checkpoint=checkpoint, progress=told)
        told(size)
        waiting = self._waiting(report.size)
        return msgspec.structs.replace(report, size=report.size + len(waiting))

    async def export(self, subject: str, kind: str) -> AsyncGenerator[str, None]:
        self._require(subject)
        if kind not in EXPORTS:
            raise UsageError(f"{kind[:80]!r} is no kind of export.", f"There is {', '.join(EXPORTS)}.")
        lines = EXPORTS[kind](self._oldest())
        while True:
            batch = await asyncio.to_thread(_take, lines)
            if not batch:
                return
            yield batch

    def sizes(self) -> tuple[int, int]:
        """How many entries there are, and how many of them are sealed."""
        log = AuditReader(self._folder)
        size = log.size
        return size + len(self._waiting(size)), log.checkpointed_size

    async def record_refusal(self, subject: str, about: str, error: SealyardError) -> None:
        """Durable before the refusal is answered."""
        refused = isinstance(error, PermissionDeniedError) or (isinstance(error, NotFoundError) and error.hidden)
        draft = self._ledger.begin()
        change = AuditAction.REFUSED if refused else AuditAction.FAILED
        message = escape_text(error.message, LONGEST_MESSAGE)
        about = escape_text(about, MAX_RESOURCE_LENGTH)
        draft.audit(escape_text(subject, MAX_RESOURCE_LENGTH), change, about, message, None, error.code)
        await draft.commit()

    def _require(self, subject: str) -> None:
        self._rights.require_type(subject, Action.VIEW, ResourceType.AUDIT_LOG)

    def _waiting(self, size: int) -> list[AuditEntry]:
        """Committed entries from ``size`` on, which the files do not hold yet."""
        pending = (msgspec.convert(each, AuditEntry) for each in self._ledger.store.pending_audit())
        return [each for each in pending if each.seq >= size]

    def _newest(self, match: AuditFilter, below: int | None, limit: int) -> tuple[AuditEntry, ...]:
        log = AuditReader(self._folder)
        size = log.size
        waiting = [each for each in reversed(self._waiting(size)) if below is None or each.seq < below]
        found = [each for each in waiting if match.matches(each)][:limit]
        if len(found) < limit:
            after = below if below is not None and below < size else None
            found += log.entries(match, after=after, limit=limit - len(found))
        return tuple(found)

    def _oldest(self) -> Iterator[AuditEntry]:
        size = 0
        for entry in AuditReader(self._folder).all_entries():
            size = entry.seq + 1
            yield entry
        yield from self._waiting(size)


def _take(lines: Iterator[str], most: int = 1000) -> str:
    return "".join(line for line, _ in zip(lines, range(most), strict=False))
