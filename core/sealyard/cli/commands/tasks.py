"""``sealyard package``, ``encrypt``, ``sign``, ``tasks`` and ``show``: create, list and show tasks."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sealyard.cli.arguments import Commands, add_command, add_task_id, choice, input_path, seconds
from sealyard.cli.commands.dry_run import check_encryption, check_package, check_signing
from sealyard.cli.commands.task_requests import (
    build_encryption_request,
    build_package_request,
    build_signing_request,
    package_files,
)
from sealyard.cli.commands.wait import report_result, wait_and_report
from sealyard.cli.context import Context
from sealyard.cli.downloads import download
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.task_format import format_review, format_tasks, printable, task_value
from sealyard.metadata.formats import looks_like_metadata
from sealyard.model.digests import parse_sha256
from sealyard.model.errors import UsageError
from sealyard.model.formatting import format_count
from sealyard.model.requests import TaskFilter
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import DetailedStatus, InputFile, Task, TaskKind, TaskStatus

if TYPE_CHECKING:
    from sealyard.client.protocol import Client


def add_commands(commands: Commands) -> None:
    package_parser = add_command(commands, "package", _package, "Create a package of firmware and metadata files")
    package_parser.add_argument(
        "--firmware",
        metavar="FILE",
        nargs="+",
        action="extend",
        type=input_path,
        required=True,
        help="firmware, in order",
    )
    package_parser.add_argument(
        "--metadata",
        metavar="FILE",
        nargs="+",
        action="extend",
        type=input_path,
        default=[],
        help="metadata files, in order",
    )
    package_parser.add_argument(
        "--sha256",
        metavar="DIGEST",
        nargs="+",
        action="extend",
        type=parse_sha256,
        default=[],
        help="expected SHA-256 of each firmware file (hex, or sha256:hex), in the same order",
    )
    _add_task_options(package_parser)
    add_wait_options(package_parser)

    encrypt_parser = add_command(commands, "encrypt", _encrypt, "Encrypt a file (needs no approval by default)")
    encrypt_parser.add_argument("file", metavar="FILE", type=input_path, help="the file to encrypt")
    encrypt_parser.add_argument(
        "--sha256", metavar="DIGEST", type=parse_sha256, help="expected SHA-256 of the file (hex, or sha256:hex)"
    )
    encrypt_parser.add_argument(
        "--encryption-key", metavar="NAME", help="key of the device configuration; by default its first one"
    )
    _add_task_options(encrypt_parser)
    encrypt_parser.add_argument("--no-wait", action="store_true", help="do not wait for the task to run")
    encrypt_parser.add_argument("--out", metavar="DIR", type=Path, help="download the encrypted file to this folder")

    sign_parser = add_command(commands, "sign", _sign, "Request a signature over a message or a digest")
    message_group = sign_parser.add_mutually_exclusive_group(required=True)
    message_group.add_argument("--file", metavar="FILE", type=input_path, help="the message, at most 1 MiB")
    message_group.add_argument(
        "--digest-base64", metavar="DIGEST", help="SHA-256 digest in Base64, if the algorithm signs one"
    )
    _add_task_options(sign_parser)

    list_parser = add_command(commands, "tasks", _list_tasks, "List tasks, newest first")
    list_parser.add_argument(
        "--status",
        metavar="STATUS",
        type=choice(DetailedStatus),
        help=f"{', '.join(DetailedStatus)}; CANCELLED includes REJECTED and WITHDRAWN",
    )
    list_parser.add_argument("--kind", metavar="KIND", type=choice(TaskKind), help=", ".join(TaskKind))
    list_parser.add_argument("--device", metavar="NAME", help="device configuration")
    list_parser.add_argument("--mine", action="store_true", help="only your own tasks")
    list_parser.add_argument("--awaiting-approval", action="store_true", help="only tasks that await your approval")
    list_parser.add_argument(
        "--search",
        metavar="TEXT",
        default="",
        help="text in the name, id, files, device, creator, kind, status or reason",
    )
    list_parser.add_argument(
        "--limit", metavar="N", type=int, default=100, help="maximum number of tasks; by default 100"
    )

    add_task_id(add_command(commands, "show", _show, "Show all details of a task"))


def _add_task_options(parser: ArgumentParser) -> None:
    parser.add_argument("--device", metavar="NAME", required=True, help="device configuration")
    parser.add_argument(
        "--name", metavar="NAME", default="", help="name of the task; by default derived from its files"
    )
    parser.add_argument("--content-type", metavar="TYPE", default="", help="type of the content, for display")
    add_justification_option(parser)
    parser.add_argument(
        "--client-token", metavar="TOKEN", help="idempotency key: requests with the same key return the same task"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only check the request and read its files; store and create nothing"
    )


def add_justification_option(parser: ArgumentParser, note: str = "") -> None:
    description = "why the task is needed, for its approvers"
    parser.add_argument("--justification", metavar="TEXT", help=f"{description}; {note}" if note else description)


def add_wait_options(parser: ArgumentParser) -> None:
    """Add the options that :func:`create_and_report` reads."""
    parser.add_argument("--wait", action="store_true", help="wait until the task ends")
    parser.add_argument(
        "--timeout", metavar="TIME", type=seconds, help="maximum time for --wait (seconds, or 30m, 24h)"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="download the container to this folder")


# ---- creating tasks


def check_wait_options(ctx: Context) -> None:
    if ctx.args.timeout is not None and not ctx.args.wait:
        raise UsageError("--timeout requires --wait.")


async def _package(ctx: Context) -> int:
    args = ctx.args
    check_wait_options(ctx)
    files = package_files(args)
    for path in args.firmware:
        if looks_like_metadata(path.name):
            ctx.out.warn(f"{escape_text(path.name)} looks like metadata; --metadata packs a file as metadata.")
    if args.dry_run:
        return await check_package(ctx)
    return await create_and_report(ctx, "package", lambda client: _create_package(ctx, client, files))


async def create_and_report(ctx: Context, purpose: str, create: Callable[[Client], Awaitable[Task]]) -> int:
    """Create a task, run it as far as possible, print it, and return the exit code.

    The options of :func:`add_wait_options` decide whether to wait for approvals, and where to download the result.
    """
    args = ctx.args
    async with ctx.open_writer(purpose) as client:
        task = await create(client)
        await ctx.run_to_completion(client, task.id)
        task = await client.task(task.id)
        if args.out is not None and task.status is TaskStatus.DONE:
            return report_result(ctx, task, await download(ctx, client, task, args.out))
    if args.wait and not task.status.is_final:
        ctx.out.warn(f"Task {task.id} is {task.status}. Approvers can review it with: sealyard show {task.id}")
        return await wait_and_report(ctx, task.id)
    if args.out is not None and not task.status.is_final:
        ctx.out.warn(f"Not finished yet. Download it later with: sealyard download {task.id} --out DIR")
    return report_result(ctx, task)


async def _create_package(ctx: Context, client: Client, files: Sequence[tuple[Path, str | None]]) -> Task:
    uploads: list[InputFile] = []
    try:
        for path, digest in files:
            uploads.append(await upload(ctx, client, path, digest))
        task = await client.create_package(build_package_request(ctx.args, uploads))
        remember_paths(uploads, [path for path, _ in files])
        return task
    finally:
        await client.discard_uploads(tuple(uploads))


async def _encrypt(ctx: Context) -> int:
    args = ctx.args
    if args.no_wait and args.out is not None:
        raise UsageError("--out and --no-wait cannot be combined.")
    if args.dry_run:
        return await check_encryption(ctx)
    async with ctx.open_writer("encrypt", run_tasks=not args.no_wait) as client:
        files: list[InputFile] = []
        try:
            files.append(await upload(ctx, client, args.file, args.sha256))
            task = await client.create_encryption(build_encryption_request(args, files[0]))
            remember_paths(files, (args.file,))
        finally:
            await client.discard_uploads(tuple(files))
        if not args.no_wait:
            await ctx.run_to_completion(client, task.id)
        task = await client.task(task.id)
        if args.out is not None and task.status is TaskStatus.DONE:
            return report_result(ctx, task, await download(ctx, client, task, args.out))
    return report_result(ctx, task)


async def _sign(ctx: Context) -> int:
    args = ctx.args
    if args.dry_run:
        return await check_signing(ctx)
    request = build_signing_request(args)
    async with ctx.open_writer("sign") as client:
        task = await client.create_signing(request)
        if args.file is not None:
            remember_paths(task.inputs, (args.file,))
        await ctx.run_to_completion(client, task.id)
        task = await client.task(task.id)
    return report_result(ctx, task)


async def upload(ctx: Context, client: Client, path: Path, expected_sha256: str | None) -> InputFile:
    file = await client.upload(path, expected_sha256=expected_sha256, progress=ctx.out.progress.for_file(path.name))
    ctx.out.progress.clear()
    return file


def remember_paths(files: Sequence[InputFile], paths: Sequence[Path]) -> None:
    """Remember where the files of a task are on this machine, so that it can be submitted again."""
    from sealyard.client.source_paths import SourcePaths

    SourcePaths().remember({file.sha256: path for file, path in zip(files, paths, strict=True)})


# ---- displaying tasks


async def _list_tasks(ctx: Context) -> int:
    args = ctx.args
    if args.limit < 1:
        raise UsageError("Invalid --limit: the minimum is 1.")
    filters = TaskFilter(
        status=args.status,
        kind=args.kind,
        config=args.device,
        text=args.search,
        awaiting_my_approval=args.awaiting_approval,
    )
    from sealyard.client.task_pages import iterate_tasks

    async with ctx.open_reader() as client:
        if args.mine:
            filters = msgspec.structs.replace(filters, created_by=(await client.workspace()).subject)
        # Request one task more than the limit, to detect whether there are more.
        matching_tasks = [task async for task in iterate_tasks(client, filters, limit=args.limit + 1)]
        names = await client.subject_names()
    tasks = matching_tasks[: args.limit]
    ctx.out.result([task_value(task) for task in tasks], format_tasks(tasks, names))
    if len(matching_tasks) > len(tasks):
        ctx.out.warn(f"Only the first {format_count(len(tasks), 'task')} shown; increase --limit to see more.")
    return ExitCode.OK


async def _show(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        review, names = await client.review(ctx.args.id), await client.subject_names()
    value = {
        **task_value(review.task),
        "configuration": msgspec.to_builtins(review.configuration),
        "blockedReason": review.blocked_reason,
        "metadataPreviews": [{"name": name, "preview": printable(preview)} for name, preview in review.metadata],
        "previous": msgspec.to_builtins(review.previous),
        "newerVersion": review.newer_version,
        "metadataChanges": msgspec.to_builtins(review.metadata_changes),
        "warnings": [*review.task.warnings, *review.warnings],
        "resubmitted": task_value(review.resubmission_of) if review.resubmission_of is not None else None,
    }
    ctx.out.result(value, format_review(review, names))
    return ExitCode.OK
