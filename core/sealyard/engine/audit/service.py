"""Use cases of the audit log: list, verify and export its entries, and record refused requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator

import msgspec

from sealyard.audit.export import export_csv, export_jsonl
from sealyard.audit.proof import prove_consistency, prove_inclusion
from sealyard.audit.source import AuditSource
from sealyard.audit.verify import verify_log
from sealyard.engine.audit.history import require_same_history
from sealyard.engine.state.commit_follower import load_new_commits
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
"""Maximum length of a subject or resource, and of a message, in the entry for a refused request, in characters.

Clients control the length of these texts, and entries are never deleted.
"""

EXPORTS = {"jsonl": export_jsonl, "csv": export_csv}


class AuditService:
    """Lists, verifies and exports the audit log, and records refused requests.

    The log consists of the entries in its files, and of committed entries that are still in the store's journal.
    """

    def __init__(self, repository: Repository, permissions: Permissions, source: AuditSource) -> None:
        self._repository = repository
        self._permissions = permissions
        self._source = source

    async def page(self, subject: str, filters: AuditFilter, below_seq: int | None, limit: int) -> AuditPage:
        """Return up to ``limit`` entries that match ``filters``, newest first.

        Only entries with a sequence number lower than ``below_seq`` are returned; None for the newest. Raises
        :class:`UsageError` if ``limit`` is out of range.
        """
        self._require_view_permission(subject)
        if not 1 <= limit <= MAX_PAGE_SIZE:
            raise UsageError(f"A page must have 1 to {MAX_PAGE_SIZE} entries.")
        entries = await asyncio.to_thread(self._load_newest_entries, filters, below_seq, limit)
        return AuditPage(entries=entries, next=entries[-1].seq if len(entries) == limit else None)

    async def verify(
        self, subject: str, checkpoint: str | None, progress: Callable[[int, int], None] | None
    ) -> AuditReport:
        """Verify the log's files against their checkpoints, and against ``checkpoint`` (a signed note) if one is given.

        Entries that are still in the journal count as not yet covered by a checkpoint. ``progress`` is called with the
        number of entries verified so far and the total: from the verifying thread, and a last time on the event loop.
        Raises :class:`AuditVerificationError` if an entry or a checkpoint is wrong, the checkpoints were removed, or
        the store is older than the log.
        """
        self._require_view_permission(subject)
        size, _ = self.sizes()

        def report_progress(done: int) -> None:
            if progress is not None:
                progress(done, size)

        report = await asyncio.to_thread(verify_log, self._source, checkpoint=checkpoint, progress=report_progress)
        await load_new_commits(self._repository)
        log = self._source
        await asyncio.to_thread(require_same_history, self._repository.store, log, report.size)
        report_progress(size)
        unflushed_entries = self._load_unflushed_entries(report.size)
        return msgspec.structs.replace(report, size=report.size + len(unflushed_entries))

    async def prove_entry(self, subject: str, seq: int) -> str:
        """Return the proof that the newest checkpoint covers an entry; :mod:`sealyard.audit.proof` defines its text.

        Raises :class:`NotFoundError` if there is no such entry, :class:`ConflictError` if no checkpoint covers it yet,
        and :class:`AuditVerificationError` if the log does not match the checkpoint.
        """
        self._require_view_permission(subject)
        if not 0 <= seq < self.sizes()[0]:
            raise NotFoundError(f"Audit entry {seq} not found.", "List the entries to see the newest number.")
        return (await asyncio.to_thread(prove_inclusion, self._source, seq)).format()

    async def prove_consistency(self, subject: str, old_size: int, size: int | None) -> str:
        """Return the proof that the log of a checkpoint starts with its first ``old_size`` entries.

        ``size`` is that of the checkpoint, None for the newest one. Raises :class:`NotFoundError` if there is no such
        checkpoint, :class:`UsageError` if ``old_size`` is not between 1 and its size, and
        :class:`AuditVerificationError` if the log does not match the checkpoint.
        """
        self._require_view_permission(subject)
        return (await asyncio.to_thread(prove_consistency, self._source, old_size, size)).format()

    async def public_key(self, subject: str) -> str:
        """Return the public audit key (PEM). Raises :class:`AuditVerificationError` if it is missing from the log."""
        self._require_view_permission(subject)
        return (await asyncio.to_thread(self._source.read_public_key)).decode()

    async def export(self, subject: str, export_format: str, filters: AuditFilter) -> AsyncGenerator[str, None]:
        """Yield the entries that match ``filters`` as text, in batches of lines, oldest entry first.

        ``export_format`` is a key of :data:`EXPORTS`. Raises :class:`UsageError` if it is not.
        """
        self._require_view_permission(subject)
        if export_format not in EXPORTS:
            raise UsageError(f"Unknown export format {export_format[:80]!r}.", f"Use one of: {', '.join(EXPORTS)}.")
        lines = EXPORTS[export_format](filter(filters.matches, self._iter_entries()))
        while True:
            batch = await asyncio.to_thread(_take_batch, lines)
            if not batch:
                return
            yield batch

    def sizes(self) -> tuple[int, int]:
        """Return the number of entries in the log, and how many of them a checkpoint covers."""
        log = self._source
        stored_size = log.size
        return stored_size + len(self._load_unflushed_entries(stored_size)), log.checkpointed_size

    async def record_refusal(self, subject: str, resource: str, error: SealyardError) -> None:
        """Commit an audit entry for a request that raised ``error``; it is durable on return.

        Permission failures are recorded as refused, all other errors as failed. Mistakes of the subject, such as a
        mistyped path, are not recorded (:attr:`SealyardError.is_audited`).
        """
        if not error.is_audited:
            return
        is_refusal = isinstance(error, PermissionDeniedError) or (isinstance(error, NotFoundError) and error.hidden)
        unit_of_work = self._repository.begin()
        change = AuditAction.REFUSED if is_refusal else AuditAction.FAILED
        message = escape_text(error.message, MAX_MESSAGE_LENGTH)
        resource = escape_text(resource, MAX_RESOURCE_LENGTH)
        unit_of_work.audit(escape_text(subject, MAX_RESOURCE_LENGTH), change, resource, message, None, error.code)
        await unit_of_work.commit()

    def _require_view_permission(self, subject: str) -> None:
        self._permissions.require_type(subject, Action.VIEW, ResourceType.AUDIT_LOG)

    def _load_unflushed_entries(self, stored_size: int) -> list[AuditEntry]:
        """Return the committed entries that are not among the ``stored_size`` entries in the log's files."""
        return [msgspec.convert(document, AuditEntry) for document in self._repository.store.pending_audit(stored_size)]

    def _load_newest_entries(self, filters: AuditFilter, below_seq: int | None, limit: int) -> tuple[AuditEntry, ...]:
        log = self._source
        stored_size = log.size
        unflushed_entries = [
            entry
            for entry in reversed(self._load_unflushed_entries(stored_size))
            if below_seq is None or entry.seq < below_seq
        ]
        entries = [entry for entry in unflushed_entries if filters.matches(entry)][:limit]
        if len(entries) < limit:
            after_seq = below_seq if below_seq is not None and below_seq < stored_size else None
            entries += log.entries(filters, after_seq=after_seq, limit=limit - len(entries))
        return tuple(entries)

    def _iter_entries(self) -> Iterator[AuditEntry]:
        stored_size = 0
        for entry in self._source.all_entries():
            stored_size = entry.seq + 1
            yield entry
        yield from self._load_unflushed_entries(stored_size)


def _take_batch(lines: Iterator[str], max_lines: int = 1000) -> str:
    return "".join(line for line, _ in zip(lines, range(max_lines), strict=False))
