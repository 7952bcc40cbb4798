"""``sealyard audit``: list, show, verify, prove and export the entries of the audit log."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from sealyard.cli.arguments import Commands, add_command, add_command_group, choice, input_path, timestamp
from sealyard.cli.commands.audit_database import add_database_options, open_audit
from sealyard.cli.commands.audit_proofs import add_proof_commands, read_text, verify_proof
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields, format_table
from sealyard.fs.atomic import remove_quietly, storage_error
from sealyard.fs.private import create_private_file
from sealyard.model.audit import AuditAction, AuditEntry, AuditFilter, AuditReport, parse_audit_resource_type
from sealyard.model.audit_changes import find_changes, format_change, format_value
from sealyard.model.errors import NotFoundError, UsageError
from sealyard.model.formatting import format_count, format_time
from sealyard.model.safe_text import escape_text

NOT_COMPARED_TEXT = (
    "Nothing outside the workspace folder was compared; pass --checkpoint FILE to compare with a checkpoint kept"
    " elsewhere."
)


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "audit", "List, show, verify, prove and export the audit log")
    list_parser = add_command(subcommands, "list", _list, "List audit entries, newest first")
    _add_filter_options(list_parser)
    list_parser.add_argument(
        "--limit", metavar="N", type=int, default=100, help="maximum number of entries, up to 1000"
    )
    list_parser.add_argument("--before-seq", metavar="N", type=int, help="only entries before this number")

    show_parser = add_command(subcommands, "show", _show, "Show an audit entry with all old and new values")
    show_parser.add_argument("seq", metavar="SEQ", type=int, help="number of the entry")

    verify_parser = add_command(
        subcommands, "verify", _verify, "Verify the audit log and report the first invalid entry, or verify a proof"
    )
    verify_parser.add_argument(
        "--checkpoint", metavar="FILE", type=input_path, help="signed checkpoint that was stored elsewhere"
    )
    verify_parser.add_argument(
        "--proof", metavar="FILE", type=input_path, help="verify this proof instead of the log, which is not read"
    )
    verify_parser.add_argument(
        "--key", metavar="FILE", type=input_path, help="audit key for --proof; by default that of the workspace"
    )
    add_proof_commands(subcommands)

    export_parser = add_command(subcommands, "export", _export, "Export audit entries, oldest first; by default all")
    _add_filter_options(export_parser)
    export_parser.add_argument("--format", choices=("jsonl", "csv"), required=True, help="file format: jsonl or csv")
    export_parser.add_argument("--out", metavar="FILE", type=Path, help="new file; by default standard output")
    for parser in (list_parser, show_parser, verify_parser, export_parser):
        add_database_options(parser)


def _add_filter_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--type", metavar="TYPE", default="", help="resource type, for example TASK, KEY or ACL")
    parser.add_argument("--resource", metavar="RESOURCE", default="", help="resource, for example TASK:<id>")
    parser.add_argument("--author", metavar="SUBJECT", default="", help="subject that caused the entry")
    parser.add_argument("--change", metavar="CHANGE", type=choice(AuditAction), help=", ".join(AuditAction))
    parser.add_argument("--since", metavar="TIME", type=timestamp, help="start, for example 2030-12-31T18:00+01:00")
    parser.add_argument("--until", metavar="TIME", type=timestamp, help="end (exclusive), formatted like --since")
    parser.add_argument("--search", metavar="TEXT", default="", help="text anywhere in the entry")


def _build_filter(args: argparse.Namespace) -> AuditFilter:
    return AuditFilter(
        resource_type=parse_audit_resource_type(args.type) if args.type else "",
        resource=args.resource,
        author=args.author,
        change=args.change,
        since=args.since,
        until=args.until,
        text=args.search,
    )


async def _list(ctx: Context) -> int:
    args = ctx.args
    async with open_audit(ctx) as client:
        page = await client.audit(_build_filter(args), below=args.before_seq, limit=args.limit)
    rows = [
        (entry.seq, format_time(entry.timestamp), entry.author, entry.change, entry.resource, entry.message)
        for entry in page.entries
    ]
    headers = ("SEQ", "TIME", "AUTHOR", "CHANGE", "RESOURCE", "MESSAGE")
    ctx.out.result(page, format_table(headers, rows, "No entries."))
    if page.next is not None:
        ctx.out.warn(f"More entries: --before-seq {page.next}")
    return ExitCode.OK


async def _show(ctx: Context) -> int:
    seq = ctx.args.seq
    async with open_audit(ctx) as client:
        entries = (await client.audit(AuditFilter(), below=max(seq, 0) + 1, limit=1)).entries
    if not entries or entries[0].seq != seq:
        raise NotFoundError(f"Audit entry {seq} not found.", "List the entries to see the newest number.")
    ctx.out.result(entries[0], _format_entry(entries[0]))
    return ExitCode.OK


def _format_entry(entry: AuditEntry) -> Iterator[str]:
    yield from format_fields(
        (
            ("entry", entry.seq),
            ("time", format_time(entry.timestamp)),
            ("author", entry.author),
            ("change", entry.change),
            ("resource", entry.resource),
            ("message", entry.message),
            ("code", entry.code),
            ("previous hash", entry.previous),
        )
    )
    for heading, lines in (
        ("Changes", [format_change(change) for change in entry.changed_fields]),
        (
            "New value",
            [
                f"{escape_text(change.path)}: {format_value(change.new)}"
                for change in find_changes({}, entry.new_value or {})
            ],
        ),
    ):
        if lines:
            yield from ("", f"{heading}:", *(f"  {line}" for line in lines))


async def _verify(ctx: Context) -> int:
    args = ctx.args
    checkpoint = read_text(args.checkpoint, "checkpoint") if args.checkpoint is not None else None
    if args.proof is not None:
        return await verify_proof(ctx, checkpoint)
    if args.key is not None:
        raise UsageError("--key requires --proof.", "The log is verified with the key of the workspace.")
    async with open_audit(ctx) as client:
        report = await client.verify_audit(checkpoint=checkpoint, progress=ctx.out.progress.for_entries("verified"))
    ctx.out.result(report, _format_report(report, args.checkpoint))
    return ExitCode.OK


def _format_report(report: AuditReport, checkpoint_path: Path | None) -> list[str]:
    """Format the report of a verification with the checkpoint in the given file; None for a verification without."""
    checkpointed_entries = format_count(report.checkpointed_size, "entry", "entries")
    return list(
        format_fields(
            (
                ("audit log", f"{report.origin}, verified"),
                ("entries", report.size),
                ("checkpointed", f"{checkpointed_entries}; {report.uncheckpointed_count} not yet"),
                ("checkpoints", f"{report.checkpoints_checked} verified"),
                ("root", report.root),
                ("audit key", report.key_fingerprint),
                ("comparison", _format_comparison(report, checkpoint_path)),
            )
        )
    )


def _format_comparison(report: AuditReport, checkpoint_path: Path | None) -> str:
    if report.external_checkpoint_size is None:
        return NOT_COMPARED_TEXT
    return f"Compared with the checkpoint of size {report.external_checkpoint_size} from {checkpoint_path}."


async def _export(ctx: Context) -> int:
    args = ctx.args
    if ctx.out.as_json and args.out is None:
        raise UsageError("--json requires --out.", "Set --out to a new file for the entries.")
    filters = _build_filter(args)
    async with open_audit(ctx) as client:
        lines = client.export_audit(args.format, filters)
        if args.out is None:
            async for line in lines:
                ctx.out.document(line)
            return ExitCode.OK
        first_line = await anext(lines, "")
        with _create_file(args.out) as file:
            file.write(first_line)
            async for line in lines:
                file.write(line)
    exported = "the audit log" if filters == AuditFilter() else "the matching audit entries"
    ctx.out.result({"path": str(args.out), "format": args.format}, (f"Exported {exported} to {args.out}.",))
    return ExitCode.OK


@contextlib.contextmanager
def _create_file(path: Path) -> Iterator[TextIO]:
    """Create and open a file for writing. If writing fails, remove the file and raise :class:`StorageError`."""
    try:
        with os.fdopen(create_private_file(path), "w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        remove_quietly(path)
        raise storage_error(error, f"writing {escape_text(str(path))}") from error
