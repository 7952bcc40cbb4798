"""``sealyard init``, ``run``, ``demo`` and ``worker``: create workspaces and run their tasks."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from typing import TYPE_CHECKING

from sealyard.cli import app_launcher
from sealyard.cli.arguments import Commands, add_command, choice
from sealyard.cli.context import Context, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields
from sealyard.client.config import profiles, workspaces
from sealyard.model.access import parse_subject
from sealyard.model.errors import SealyardError
from sealyard.model.formatting import format_time
from sealyard.model.workspace import KeyStore

if TYPE_CHECKING:
    from sealyard.client.protocol import Client
    from sealyard.model.events import TaskChanged
    from sealyard.model.tasks import TaskStatus

SHUTDOWN_TIMEOUT = 2.0
"""Maximum number of seconds spent printing the remaining events when the command stops."""


def add_commands(commands: Commands) -> None:
    init_parser = add_command(
        commands, "init", _init, "Create a workspace on this machine, and a profile for its administrator"
    )
    init_parser.add_argument("--name", metavar="NAME", help="name of the workspace; by default that of its folder")
    init_parser.add_argument("--admin", metavar="USER", help="administrator of the workspace; by default you")
    init_parser.add_argument(
        "--key-store",
        metavar="KIND",
        type=choice(KeyStore),
        help=f"where to store the master key: {', '.join(KeyStore)}; by default the OS keyring if available",
    )
    init_parser.add_argument(
        "--database",
        metavar="DATABASE",
        help="keep store and audit log in PostgreSQL: a connection string of libpq without a password",
    )
    init_parser.add_argument(
        "--artifacts",
        metavar="URL",
        help="keep inputs and results in S3: s3://BUCKET/PREFIX, with ?region=REGION&endpoint=URL if necessary",
    )
    init_parser.add_argument(
        "--zone",
        metavar="NAME",
        help="let the hosts of this crypto zone execute the tasks; needs --bus and --artifacts",
    )
    init_parser.add_argument(
        "--bus",
        metavar="DATABASE",
        help="bus database of the crypto zone: a connection string of libpq without a password",
    )

    add_command(commands, "run", _run, "Run pending tasks on this machine, until interrupted")

    demo_parser = add_command(
        commands, "demo", _demo, "Create a temporary demo workspace and open it in the application"
    )
    demo_parser.add_argument(
        "--headless", action="store_true", help="run the demo without the application, step by step"
    )
    demo_parser.add_argument("--keep", action="store_true", help="keep the folder of the workspace")
    app_launcher.add_app_options(demo_parser)


# ---- the workspace


async def _init(ctx: Context) -> int:
    folder = (
        profiles.selected_workspace(getattr(ctx.args, "workspace", None), os.environ)
        or workspaces.default_workspace_path()
    )
    from sealyard.client.config.key_holder import new_key_holder

    name = ctx.args.name or folder.name
    administrator = parse_subject(ctx.args.admin or workspaces.current_user_name())
    key_store = ctx.args.key_store or workspaces.detect_key_store()
    profile = await workspaces.create_workspace(
        folder,
        name=name,
        administrator=administrator,
        key_store=key_store,
        key_holder=new_key_holder(may_prompt=is_interactive()),
        database=ctx.args.database,
        artifacts=ctx.args.artifacts,
        zone=ctx.args.zone,
        bus=ctx.args.bus,
    )
    lines = format_fields(
        (
            ("workspace", f"{name} in {folder}"),
            ("administrator", administrator),
            ("key store", key_store),
            ("profile", profile.name),
        )
    )
    ctx.out.result(
        {**_to_builtins(workspaces.load_workspace_metadata(folder)), "location": str(folder), "profile": profile.name},
        lines,
    )
    return ExitCode.OK


def _to_builtins(value: object) -> dict[str, object]:
    import msgspec

    builtins: dict[str, object] = msgspec.to_builtins(value)
    return builtins


# ---- running tasks


async def _run(ctx: Context) -> int:
    import asyncio

    from sealyard.cli.signals import stop_event

    folder = ctx.folder
    stop = stop_event()
    async with ctx.open_writer("run", finish_tasks=False) as client:
        reporter = _TaskReporter(ctx, await client.cursor())
        ctx.out.status(f"Running tasks in {folder} as {ctx.profile.identity} (press Ctrl-C to stop)")
        report_task = asyncio.create_task(reporter.print_events(client))
        stop_wait = asyncio.create_task(stop.wait())
        await asyncio.wait({report_task, stop_wait}, return_when=asyncio.FIRST_COMPLETED)
        stop_wait.cancel()
        if report_task.done():
            await report_task
        with contextlib.suppress(TimeoutError, SealyardError):
            async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                await reporter.wait_for_cursor(await client.cursor())
        report_task.cancel()
        await asyncio.gather(report_task, return_exceptions=True)
    counts = Counter(reporter.final_statuses.values())
    ctx.out.result({"ended": counts}, ("Stopped. Pending tasks resume at the next start.",))
    return ExitCode.OK


class _TaskReporter:
    """A reporter that prints the status changes of tasks and stores the final status of each task."""

    def __init__(self, ctx: Context, cursor: int) -> None:
        import asyncio

        self._ctx = ctx
        self._cursor = cursor
        self._cursor_moved = asyncio.Condition()
        self.final_statuses: dict[str, TaskStatus] = {}

    async def print_events(self, client: Client) -> None:
        """Print the status changes of tasks, and show their progress, until cancelled."""
        from sealyard.model.events import TaskChanged, TaskProgressed

        async for event in client.events(self._cursor):
            if isinstance(event, TaskProgressed):
                progress = self._ctx.out.progress
                progress.show(event.task_id, event.bytes_done, event.bytes_total, None, event.eta_seconds)
                continue
            if isinstance(event, TaskChanged):
                self._print(event)
            async with self._cursor_moved:
                self._cursor = event.cursor
                self._cursor_moved.notify_all()

    async def wait_for_cursor(self, cursor: int) -> None:
        """Wait until all events up to ``cursor`` have been printed."""
        async with self._cursor_moved:
            await self._cursor_moved.wait_for(lambda: self._cursor >= cursor)

    def _print(self, event: TaskChanged) -> None:
        state = f", {event.result_state}" if event.result_state else ""
        text = f"{event.task_id}  {event.detailed_status or event.status}{state}  {event.kind} {event.name}"
        self._ctx.out.status(f"{format_time(event.at)}  {text}")
        if event.status.is_final:
            self.final_statuses[event.task_id] = event.status


def _demo(ctx: Context) -> int:
    if not ctx.args.headless:
        app_launcher.require_terminal()
    from sealyard.cli.commands import demo

    return demo.run(ctx)
