"""``sealyard wait`` and ``package --wait``: wait for a task without locking the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sealyard.cli.arguments import Commands, add_command, add_task_id, seconds
from sealyard.cli.context import Context
from sealyard.cli.downloads import download, download_url, wait_for_download
from sealyard.cli.exit_codes import exit_code_for_error, exit_code_for_task
from sealyard.cli.hints import format_error
from sealyard.cli.task_format import format_task
from sealyard.model.errors import WaitTimeoutError
from sealyard.model.tasks import Task, TaskStatus

if TYPE_CHECKING:
    from sealyard.client.downloads.downloader import DownloadedFile


def add_commands(commands: Commands) -> None:
    parser = add_command(commands, "wait", _wait, "Wait for a task to finish, and exit with its result")
    add_task_id(parser)
    parser.add_argument("--timeout", metavar="TIME", type=seconds, help="maximum time to wait (seconds, or 30m, 24h)")
    parser.add_argument("--out", metavar="DIR", type=Path, help="download the result to this folder")


async def _wait(ctx: Context) -> int:
    return await wait_and_report(ctx, ctx.args.id)


async def wait_and_report(ctx: Context, task_id: str) -> int:
    """Wait until a task has ended, print it, and return the exit code.

    ``--timeout`` limits the time to wait. With ``--out``, the result is downloaded as well.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    deadline = loop.time() + ctx.args.timeout if ctx.args.timeout is not None else None
    async with ctx.open_reader() as client:
        try:
            task = await client.wait(task_id, within=ctx.args.timeout)
        except WaitTimeoutError as error:
            return _report_timeout(ctx, await client.task(task_id), error)
    if ctx.args.out is not None and task.status is TaskStatus.DONE:
        async with wait_for_download(ctx, deadline) as writer:
            return report_result(ctx, task, await download(ctx, writer, task, ctx.args.out))
    return report_result(ctx, task)


def report_result(ctx: Context, task: Task, file: DownloadedFile | None = None) -> int:
    """Print a task, as JSON with its downloaded ``file`` and the URL of its result, and return its exit code."""
    value = {
        **msgspec.to_builtins(task),
        "downloaded": msgspec.to_builtins(file),
        "downloadUrl": download_url(ctx, task),
    }
    ctx.out.result(value, format_task(task))
    return exit_code_for_task(task)


def _report_timeout(ctx: Context, task: Task, error: WaitTimeoutError) -> int:
    """Print the error and the task, whose id the user needs to continue, and return the exit code."""
    value = {**msgspec.to_builtins(task), "error": msgspec.to_builtins(error.to_info())}
    ctx.out.warn(format_error(error))
    ctx.out.result(value, format_task(task))
    return exit_code_for_error(error)
