"""`sealyard wait`, and `package --wait`: until a task has ended, whoever does the work, holding nothing."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sealyard.cli import downloads as fetching
from sealyard.cli.arguments import Commands, command, seconds, task_id
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import exit_code_for_error, exit_code_for_task
from sealyard.cli.task_format import format_task
from sealyard.model.errors import WaitTimeoutError
from sealyard.model.tasks import Task, TaskStatus


def add(commands: Commands) -> None:
    waiting = command(commands, "wait", _wait, "Waits until a task has ended, and ends as it did.")
    task_id(waiting)
    waiting.add_argument("--timeout", metavar="S", type=seconds, help="how long")
    waiting.add_argument("--out", metavar="DIR", type=Path, help="download the result to this folder")


async def _wait(ctx: Context) -> int:
    return await wait_and_report(ctx, ctx.args.id)


async def wait_and_report(ctx: Context, task_id: str) -> int:
    """Goes by ``--timeout`` and ``--out``."""
    import asyncio

    loop = asyncio.get_running_loop()
    until = loop.time() + ctx.args.timeout if ctx.args.timeout is not None else None
    async with ctx.open_reader() as client:
        try:
            task = await client.wait(task_id, within=ctx.args.timeout)
        except WaitTimeoutError as error:
            return _still_waiting(ctx, await client.task(task_id), error)
    if ctx.args.out is not None and task.status is TaskStatus.DONE:
        async with fetching.wait_for_writer(ctx, until) as writer:
            await fetching.download(ctx, writer, task, ctx.args.out)
    return report_result(ctx, task)


def report_result(ctx: Context, task: Task) -> int:
    ctx.out.result(task, format_task(task))
    return exit_code_for_task(task)


def _still_waiting(ctx: Context, task: Task, error: WaitTimeoutError) -> int:
    """The task as it stands is the outcome, for its id is what one needs to go on; the error is in it."""
    value = {**msgspec.to_builtins(task), "error": msgspec.to_builtins(error.to_info())}
    ctx.out.warn(str(error))
    ctx.out.result(value, format_task(task))
    return exit_code_for_error(error)
