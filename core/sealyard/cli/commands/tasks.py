"""`sealyard package`, `encrypt` and `sign`, and looking at tasks."""

from __future__ import annotations

import base64
import binascii
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sealyard.cli import downloads as fetching
from sealyard.cli.arguments import Commands, choice, command, seconds, task_id
from sealyard.cli.commands import wait as waiting
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.task_format import format_review, format_tasks, printable
from sealyard.model.errors import InvalidInputError, UsageError
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest, TaskFilter
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, Task, TaskKind, TaskStatus

if TYPE_CHECKING:
    from sealyard.client.protocol import Client

MAX_MESSAGE_BYTES = 1024 * 1024


def add(commands: Commands) -> None:
    packing = command(commands, "package", _package, "Asks for a package of firmware and metadata files.")
    packing.add_argument("--firmware", metavar="F", nargs="+", action="extend", type=Path, required=True)
    packing.add_argument("--metadata", metavar="M", nargs="+", action="extend", type=Path, default=[])
    packing.add_argument(
        "--sha256", metavar="H", nargs="+", action="extend", default=[], help="expected digests, in order of --firmware"
    )
    _common(packing)
    packing.add_argument("--wait", action="store_true", help="until it has ended, whoever does the work")
    packing.add_argument("--timeout", metavar="S", type=seconds, help="how long --wait waits")
    packing.add_argument("--out", metavar="DIR", type=Path, help="download the finished container to this folder")

    encrypting = command(commands, "encrypt", _encrypt, "Encrypts a file; this needs no approval.")
    encrypting.add_argument("file", metavar="FILE", type=Path)
    encrypting.add_argument("--sha256", metavar="H", help="the expected digest")
    _common(encrypting)
    encrypting.add_argument("--no-wait", action="store_true", help="leave the work to whoever comes next")
    encrypting.add_argument("--out", metavar="DIR", type=Path, help="download the encrypted file to this folder")

    signing = command(commands, "sign", _sign, "Asks for a signature of a message or a finished digest.")
    message = signing.add_mutually_exclusive_group(required=True)
    message.add_argument("--file", metavar="F", type=Path, help="the message, at most 1 MiB")
    message.add_argument("--digest-base64", metavar="D", help="a finished SHA-256, for algorithms that take one")
    _common(signing)

    listing = command(commands, "tasks", _tasks, "Lists tasks, newest first.")
    listing.add_argument("--status", metavar="STATUS", type=choice(TaskStatus))
    listing.add_argument("--kind", metavar="KIND", type=choice(TaskKind))
    listing.add_argument("--device", metavar="D")
    listing.add_argument("--mine", action="store_true", help="that I asked for")
    listing.add_argument("--awaiting-approval", action="store_true", help="only tasks that await your approval")
    listing.add_argument("--search", metavar="TEXT", default="", help="in name, id or file names")
    listing.add_argument("--limit", metavar="N", type=int, default=100)

    task_id(command(commands, "show", _show, "Shows everything about a task."))


def _common(parser: ArgumentParser) -> None:
    parser.add_argument("--device", metavar="NAME", required=True, help="the device configuration")
    parser.add_argument("--name", metavar="N", default="", help="what the task is called")
    parser.add_argument("--content-type", metavar="T", default="", help="what kind of file it is")
    parser.add_argument("--client-token", metavar="T", help="the same token gives the same task")


# ---- asking


async def _package(ctx: Context) -> int:
    args = ctx.args
    if args.timeout is not None and not args.wait:
        raise UsageError("--timeout goes with --wait.")
    if args.sha256 and len(args.sha256) != len(args.firmware):
        raise UsageError(
            f"There are {len(args.sha256)} digests for {len(args.firmware)} firmware files.",
            "Give one --sha256 for each --firmware, in the same order.",
        )
    async with ctx.open_writer("package") as client:
        task = await _create_package(ctx, client)
        await ctx.run_to_completion(client, task.id)
        task = await client.task(task.id)
        if args.out is not None and task.status is TaskStatus.DONE:
            await fetching.download(ctx, client, task, args.out)
            return waiting.report_result(ctx, task)
    if args.wait and not task.status.is_final:
        ctx.out.warn(f"Task {task.id} is {task.status}; approvers see it with: sealyard show {task.id}")
        return await waiting.wait_and_report(ctx, task.id)
    if args.out is not None and not task.status.is_final:
        ctx.out.warn(f"Not there yet. Later: sealyard download {task.id} --out DIR")
    return waiting.report_result(ctx, task)


async def _create_package(ctx: Context, client: Client) -> Task:
    args = ctx.args
    digests: Sequence[str | None] = args.sha256 or [None] * len(args.firmware)
    wanted = [*zip(args.firmware, digests, strict=True), *((path, None) for path in args.metadata)]
    files: list[InputFile] = []
    try:
        for path, digest in wanted:
            files.append(await _upload(ctx, client, path, digest))
        request = PackageRequest(
            config=args.device,
            firmware=tuple(files[: len(args.firmware)]),
            metadata=tuple(files[len(args.firmware) :]),
            name=args.name,
            content_type=args.content_type,
            client_token=args.client_token,
        )
        return await client.create_package(request)
    finally:
        await client.discard_uploads(tuple(files))


async def _encrypt(ctx: Context) -> int:
    args = ctx.args
    if args.no_wait and args.out is not None:
        raise UsageError("--out wants the work done; --no-wait leaves it.")
    async with ctx.open_writer("encrypt", work=not args.no_wait) as client:
        files: list[InputFile] = []
        try:
            files.append(await _upload(ctx, client, args.file, args.sha256))
            request = EncryptionRequest(
                config=args.device,
                file=files[0],
                name=args.name,
                content_type=args.content_type,
                client_token=args.client_token,
            )
            task = await client.create_encryption(request)
        finally:
            await client.discard_uploads(tuple(files))
        if not args.no_wait:
            await ctx.run_to_completion(client, task.id)
        task = await client.task(task.id)
        if args.out is not None and task.status is TaskStatus.DONE:
            await fetching.download(ctx, client, task, args.out)
    return waiting.report_result(ctx, task)


async def _sign(ctx: Context) -> int:
    args = ctx.args
    is_digest = args.file is None
    request = SigningRequest(
        config=args.device,
        message=_decoded(args.digest_base64) if is_digest else _message(args.file),
        is_digest=is_digest,
        file_name="" if is_digest else args.file.name,
        name=args.name,
        content_type=args.content_type,
        client_token=args.client_token,
    )
    async with ctx.open_writer("sign") as client:
        task = await client.create_signing(request)
        await ctx.run_to_completion(client, task.id)
        task = await client.task(task.id)
    return waiting.report_result(ctx, task)


async def _upload(ctx: Context, client: Client, path: Path, expected_sha256: str | None) -> InputFile:
    file = await client.upload(path, expected_sha256=expected_sha256, progress=ctx.out.progress.for_file(path.name))
    ctx.out.progress.clear()
    return file


def _message(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than is signed: what is too long is refused, never cut.
            return file.read(MAX_MESSAGE_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(
            f"{escape_text(str(path))} cannot be read: {error.strerror}.", "Name a readable file."
        ) from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise UsageError("--digest-base64 is not Base64.", "Write the 32 bytes of a SHA-256 in Base64.") from None


# ---- looking


async def _tasks(ctx: Context) -> int:
    args = ctx.args
    if args.limit < 1:
        raise UsageError("--limit counts from 1.")
    filters = TaskFilter(
        status=args.status,
        kind=args.kind,
        config=args.device,
        created_by=ctx.profile.identity if args.mine else None,
        text=args.search,
        awaiting_my_approval=args.awaiting_approval,
    )
    from sealyard.client.task_pages import iterate_tasks

    async with ctx.open_reader() as client:
        # One more than the limit shows whether there are more.
        found = [task async for task in iterate_tasks(client, filters, limit=args.limit + 1)]
    shown = found[: args.limit]
    ctx.out.result(shown, format_tasks(shown))
    if len(found) > len(shown):
        ctx.out.warn(f"There are more than these {len(shown)}: --limit")
    return ExitCode.OK


async def _show(ctx: Context) -> int:
    async with ctx.open_reader() as client:
        seen = await client.review(ctx.args.id)
    value = {
        **msgspec.to_builtins(seen.task),
        "configuration": msgspec.to_builtins(seen.configuration),
        "blockedReason": seen.blocked_reason,
        "metadataBeginnings": [{"name": name, "beginning": printable(beginning)} for name, beginning in seen.metadata],
        "previous": msgspec.to_builtins(seen.previous),
        "newerVersion": seen.newer_version,
    }
    ctx.out.result(value, format_review(seen))
    return ExitCode.OK
