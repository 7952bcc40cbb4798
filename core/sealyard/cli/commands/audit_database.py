"""Read an audit log from its database, without the folder of its workspace, for ``sealyard audit --database``."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING

from sealyard.audit.export import export_csv, export_jsonl
from sealyard.audit.proof import prove_consistency, prove_inclusion
from sealyard.audit.source import AuditSource
from sealyard.audit.verify import verify_log
from sealyard.cli.context import Context
from sealyard.model.audit import AuditFilter, AuditReport
from sealyard.model.errors import NotFoundError, UsageError
from sealyard.model.requests import AuditPage

if TYPE_CHECKING:
    from sealyard.client.protocol import Client

BATCH_LINES = 1000
MAX_PAGE_SIZE = 1000


def add_database_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database", metavar="DATABASE", help="read this database, with a role that may only read, and no workspace"
    )
    parser.add_argument("--id", dest="workspace_id", metavar="ID", help="workspace in --database, if it has several")


class DatabaseAudit:
    """The operations of :class:`~sealyard.client.protocol.Client` that read the audit log, for any subject."""

    def __init__(self, source: AuditSource) -> None:
        self._source = source

    async def audit(self, filters: AuditFilter, *, below: int | None = None, limit: int = 100) -> AuditPage:
        if not 1 <= limit <= MAX_PAGE_SIZE:
            raise UsageError(f"A page must have 1 to {MAX_PAGE_SIZE} entries.")
        after = below if below is not None and below < self._source.size else None
        entries = tuple(await asyncio.to_thread(self._source.entries, filters, after_seq=after, limit=limit))
        return AuditPage(entries=entries, next=entries[-1].seq if len(entries) == limit else None)

    async def verify_audit(
        self, *, checkpoint: str | None = None, progress: Callable[[int, int], None] | None = None
    ) -> AuditReport:
        size = self._source.size

        def report_progress(done: int) -> None:
            if progress is not None:
                progress(done, size)

        return await asyncio.to_thread(verify_log, self._source, checkpoint=checkpoint, progress=report_progress)

    async def prove_audit_entry(self, seq: int) -> str:
        if not 0 <= seq < self._source.size:
            raise NotFoundError(f"Audit entry {seq} not found.", "List the entries to see the newest number.")
        return (await asyncio.to_thread(prove_inclusion, self._source, seq)).format()

    async def prove_audit_consistency(self, old_size: int, size: int | None = None) -> str:
        return (await asyncio.to_thread(prove_consistency, self._source, old_size, size)).format()

    async def audit_key(self) -> str:
        return (await asyncio.to_thread(self._source.read_public_key)).decode()

    async def export_audit(self, kind: str, filters: AuditFilter | None = None) -> AsyncGenerator[str, None]:
        export = {"jsonl": export_jsonl, "csv": export_csv}[kind]
        lines = export(self._source.all_entries(filters or AuditFilter()))
        while batch := await asyncio.to_thread("".join, islice(lines, BATCH_LINES)):
            yield batch


@asynccontextmanager
async def open_audit(ctx: Context) -> AsyncIterator[Client | DatabaseAudit]:
    """Yield the reader of the audit log that the arguments select: of a database, or of the workspace or server.

    Raises :class:`UsageError` if the connection string is invalid or the database has several workspaces.
    """
    if ctx.args.database is None:
        if ctx.args.workspace_id is not None:
            raise UsageError("--id requires --database.", "See `sealyard audit --help`.")
        async with ctx.open_reader() as client:
            yield client
        return
    from sealyard.engine.state.open_state import require_postgres_packages

    with require_postgres_packages():
        from sealyard.storage.postgres.audit import PgAuditReader
        from sealyard.storage.postgres.connection import Database
        from sealyard.storage.postgres.schema import find_workspace

    database = Database(ctx.args.database)
    workspace_id = await asyncio.to_thread(find_workspace, database, ctx.args.workspace_id)
    source = PgAuditReader(database, workspace_id)
    ctx.out.mark_unverified()
    try:
        yield DatabaseAudit(source)
    finally:
        source.close()
