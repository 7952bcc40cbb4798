"""``sealyard resubmit``: submit a rejected, cancelled or failed task again, as a new task."""

from __future__ import annotations

import base64
import binascii
import hashlib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from sealyard.cli.arguments import Commands, add_command, add_task_id, input_path
from sealyard.cli.commands.task_requests import read_message
from sealyard.cli.commands.tasks import (
    add_justification_option,
    add_wait_options,
    check_wait_options,
    create_and_report,
    remember_paths,
    upload,
)
from sealyard.cli.context import Context
from sealyard.model.errors import InputMismatchError, InvalidInputError, UsageError
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, Task, TaskKind

if TYPE_CHECKING:
    from sealyard.client.protocol import Client


class _Source(NamedTuple):
    """The file on disk for an input of the earlier task. ``is_new``: whether its content may differ."""

    path: Path
    is_new: bool


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands, "resubmit", _resubmit, "Submit a rejected, cancelled or failed task again, as a new task"
    )
    add_task_id(parser)
    parser.add_argument(
        "--file",
        metavar="FILE",
        nargs="+",
        action="extend",
        type=input_path,
        default=[],
        help="use this file, which may have new content, for the input or metadata file with the same name;"
        " by default, the same files as before",
    )
    parser.add_argument("--name", metavar="NAME", help="name of the new task; by default the same name")
    add_justification_option(parser, "by default the same justification")
    parser.add_argument(
        "--client-token", metavar="TOKEN", help="idempotency key: requests with the same key return the same task"
    )
    add_wait_options(parser)


async def _resubmit(ctx: Context) -> int:
    check_wait_options(ctx)

    async def create(client: Client) -> Task:
        earlier_task = await client.task(ctx.args.id)
        if earlier_task.kind is TaskKind.SIGNING:
            return await client.create_signing(_build_signing_request(ctx, earlier_task))
        return await _create_from_files(ctx, client, earlier_task)

    return await create_and_report(ctx, "resubmit", create)


async def _create_from_files(ctx: Context, client: Client, earlier_task: Task) -> Task:
    sources = _find_sources(ctx, (*earlier_task.inputs, *earlier_task.metadata))
    files: list[InputFile] = []
    try:
        for file, source in zip((*earlier_task.inputs, *earlier_task.metadata), sources, strict=True):
            files.append(await _upload(ctx, client, file, source))
        task = await _create_task(ctx, client, earlier_task, files)
        remember_paths(files, [source.path for source in sources])
        return task
    finally:
        await client.discard_uploads(tuple(files))


async def _create_task(ctx: Context, client: Client, earlier_task: Task, files: Sequence[InputFile]) -> Task:
    fields = _task_fields(ctx, earlier_task)
    if earlier_task.kind is TaskKind.ENCRYPTION:
        key = earlier_task.encryption_key
        return await client.create_encryption(
            EncryptionRequest(file=files[0], encryption_key=key.uri if key is not None else UNSET, **fields)
        )
    input_count = len(earlier_task.inputs)
    firmware, metadata = tuple(files[:input_count]), tuple(files[input_count:])
    return await client.create_package(PackageRequest(firmware=firmware, metadata=metadata, **fields))


async def _upload(ctx: Context, client: Client, file: InputFile, source: _Source) -> InputFile:
    try:
        return await upload(ctx, client, source.path, None if source.is_new else file.sha256)
    except InputMismatchError as error:
        if source.is_new:
            raise
        raise _changed_file_error(source.path) from error


def _changed_file_error(path: Path) -> InputMismatchError:
    return InputMismatchError(
        f"{escape_text(str(path))} has changed since the earlier task.",
        f"To submit its new content, add: --file {shlex.quote(escape_text(str(path)))}",
    )


def _build_signing_request(ctx: Context, earlier_task: Task) -> SigningRequest:
    from sealyard.client.capabilities import signs_digest

    (message_file,) = earlier_task.inputs
    key = earlier_task.signing_key
    return SigningRequest(
        message=_read_message(ctx, message_file),
        is_digest=key is not None and signs_digest(key.algorithm),
        file_name=message_file.name,
        **_task_fields(ctx, earlier_task),
    )


def _read_message(ctx: Context, message_file: InputFile) -> bytes:
    """Return the message to sign: from ``--file``, from the earlier task if it was short, or from its file."""
    if message_file.inline is not None and not ctx.args.file:
        try:
            return base64.b64decode(message_file.inline, validate=True)
        except binascii.Error:
            raise InvalidInputError("The message of the earlier task is damaged.", "Sign it with --file.") from None
    (source,) = _find_sources(ctx, (message_file,))
    message = read_message(source.path)
    if not source.is_new and hashlib.sha256(message).hexdigest() != message_file.sha256:
        raise _changed_file_error(source.path)
    return message


def _task_fields(ctx: Context, earlier_task: Task) -> dict[str, Any]:
    """Return the fields that requests for all kinds of tasks have in common."""
    args = ctx.args
    return {
        "config": earlier_task.config_id,
        "name": earlier_task.name if args.name is None else args.name,
        "content_type": earlier_task.content_type,
        "client_token": args.client_token,
        "justification": earlier_task.justification if args.justification is None else args.justification,
        "resubmission_of": earlier_task.id,
    }


def _find_sources(ctx: Context, files: Sequence[InputFile]) -> list[_Source]:
    """Return the file on disk for each of the earlier task's files.

    Raises :class:`UsageError` if a ``--file`` has no counterpart with the same name in the earlier task, and
    :class:`InvalidInputError`, which names all missing files, if a file is not known on this machine any more.
    """
    from sealyard.client.source_paths import SourcePaths
    from sealyard.fs.source_file import to_utf8_name

    given_paths = {to_utf8_name(path.name): path for path in ctx.args.file}
    if unknown_names := sorted(given_paths.keys() - {file.name for file in files}):
        raise UsageError(
            f"The earlier task has no file named {escape_text(unknown_names[0], 100)}.",
            f"Its files: {', '.join(escape_text(file.name, 100) for file in files)}.",
        )
    for name in given_paths:
        if len({file.sha256 for file in files if file.name == name}) > 1:
            raise UsageError(
                f"The earlier task has several different files named {escape_text(name, 100)}.",
                "Create a new task with `sealyard package`.",
            )
    source_paths = SourcePaths()
    sources: list[_Source] = []
    missing_names: list[str] = []
    for file in files:
        if file.name in given_paths:
            sources.append(_Source(given_paths[file.name], is_new=True))
        elif (path := source_paths.find(file.sha256, file.size)) is not None:
            sources.append(_Source(path, is_new=False))
        else:
            missing_names.append(escape_text(file.name, 100))
    if missing_names:
        raise InvalidInputError(
            f"Not found on this machine: {', '.join(missing_names)}.", "Specify each of them with --file."
        )
    return sources
