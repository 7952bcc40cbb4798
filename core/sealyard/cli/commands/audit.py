"""`sealyard audit`: looking at the log, checking all of it, and taking it elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TextIO

from sealyard.cli.arguments import Commands, choice, command, group, timestamp
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields, format_table
from sealyard.fs.private import create_private_file
from sealyard.model.audit import AuditAction, AuditFilter, AuditReport
from sealyard.model.errors import InvalidInputError, UsageError
from sealyard.model.formatting import format_time
from sealyard.model.safe_text import escape_text


def add(commands: Commands) -> None:
    family = group(commands, "audit", "The audit log: append-only, signed, checked by anybody.")
    listing = command(family, "list", _list, "Lists entries, newest first.")
    listing.add_argument("--type", metavar="TYPE", default="", help="of resource: TASK, KEY, ACL, …")
    listing.add_argument("--resource", metavar="R", default="", help="such as TASK:<id>")
    listing.add_argument("--author", metavar="SUBJECT", default="")
    listing.add_argument("--change", metavar="CHANGE", type=choice(AuditAction))
    listing.add_argument("--since", metavar="TIME", type=timestamp)
    listing.add_argument("--until", metavar="TIME", type=timestamp, help="not included")
    listing.add_argument("--search", metavar="TEXT", default="", help="anywhere in an entry")
    listing.add_argument("--limit", metavar="N", type=int, default=100, help="at most 1000")
    listing.add_argument("--before-seq", metavar="SEQ", type=int, help="only entries before this one")

    checking = command(family, "verify", _verify, "Recomputes all of it and names the first entry that does not fit.")
    checking.add_argument("--checkpoint", metavar="FILE", type=Path, help="a signed checkpoint that was kept elsewhere")

    exporting = command(family, "export", _export, "Writes all entries, oldest first.")
    exporting.add_argument("--format", choices=("jsonl", "csv"), required=True)
    exporting.add_argument("--out", metavar="FILE", type=Path, help="a new file; by default standard output")


async def _list(ctx: Context) -> int:
    args = ctx.args
    filters = AuditFilter(
        resource_type=args.type,
        resource=args.resource,
        author=args.author,
        change=args.change,
        since=args.since,
        until=args.until,
        text=args.search,
    )
    async with ctx.open_reader() as client:
        page = await client.audit(filters, below=args.before_seq, limit=args.limit)
    rows = [
        (each.seq, format_time(each.timestamp), each.author, each.change, each.resource, each.message)
        for each in page.entries
    ]
    ctx.out.result(page, format_table(("SEQ", "TIME", "BY", "CHANGE", "RESOURCE", "MESSAGE"), rows, "No such entries."))
    if page.next is not None:
        ctx.out.warn(f"Older ones: --before-seq {page.next}")
    return ExitCode.OK


async def _verify(ctx: Context) -> int:
    checkpoint = _read(ctx.args.checkpoint) if ctx.args.checkpoint is not None else None
    async with ctx.open_reader() as client:
        report = await client.verify_audit(checkpoint=checkpoint, progress=ctx.out.progress.for_entries("checked"))
    ctx.out.result(report, format_report(report))
    return ExitCode.OK


def format_report(report: AuditReport) -> list[str]:
    return list(
        format_fields(
            (
                ("log", f"{report.origin}, everything fits"),
                ("entries", report.size),
                ("sealed", f"the first {report.checkpointed_size}; {report.uncheckpointed_count} not yet sealed"),
                ("checkpoints", f"{report.checkpoints_checked} checked"),
                ("root", report.root),
                ("audit key", report.key_fingerprint),
            )
        )
    )


async def _export(ctx: Context) -> int:
    args = ctx.args
    if ctx.out.as_json and args.out is None:
        raise UsageError("With --json, standard output is for one value.", "Name a file for the entries: --out.")
    async with ctx.open_reader() as client:
        lines = client.export_audit(args.format)
        if args.out is None:
            async for text in lines:
                ctx.out.document(text)
            return ExitCode.OK
        first = await anext(lines, "")
        with _new_file(args.out) as file:
            file.write(first)
            async for text in lines:
                file.write(text)
    ctx.out.result({"path": str(args.out), "format": args.format}, (f"The log is in {args.out}.",))
    return ExitCode.OK


def _new_file(path: Path) -> TextIO:
    return os.fdopen(create_private_file(path), "w", encoding="utf-8", newline="")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"{escape_text(str(path))} is no checkpoint that can be read.", "Name its file."
        ) from error
