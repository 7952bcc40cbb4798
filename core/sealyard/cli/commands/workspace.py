"""`sealyard init`, `run`, `demo` and `worker`."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from typing import TYPE_CHECKING

from sealyard.cli import app_launcher as front
from sealyard.cli.arguments import Commands, choice, command
from sealyard.cli.context import Context, ask_passphrase, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_fields
from sealyard.client.config import profiles, workspaces
from sealyard.model.access import parse_subject
from sealyard.model.errors import SealyardError, UsageError
from sealyard.model.formatting import format_time
from sealyard.model.workspace import KeyStore

if TYPE_CHECKING:
    from sealyard.client.protocol import Client
    from sealyard.model.events import TaskChanged
    from sealyard.model.tasks import TaskStatus

SHUTDOWN_TIMEOUT = 2.0
"""For what has happened and was not said yet, once it is to stop."""


def add(commands: Commands) -> None:
    init = command(commands, "init", _init, "Makes a workspace on this machine, and a profile of its administrator.")
    init.add_argument("--name", help="what it is called; by default like its folder")
    init.add_argument("--admin", metavar="USER", help="who administers it; by default you")
    init.add_argument(
        "--key-store",
        metavar="KIND",
        type=choice(KeyStore),
        help=f"where the master key lies: {', '.join(KeyStore)}; by default the keyring where there is one",
    )

    command(commands, "run", _run, "Works on what is unfinished on this machine, until it is interrupted.")

    demo = command(
        commands, "demo", _demo, "Makes a throw-away workspace on this machine and shows the main job on real files."
    )
    demo.add_argument("--headless", action="store_true", help="run the whole line here, step by step")
    demo.add_argument("--keep", action="store_true", help="leave the folder where it is")
    front.add_app_options(demo)

    command(commands, "worker", _worker, "Run a crypto worker. The engine starts its own workers.", hidden=True)


# ---- the workspace


async def _init(ctx: Context) -> int:
    folder = (
        profiles.selected_workspace(getattr(ctx.args, "workspace", None), os.environ)
        or workspaces.default_workspace_path()
    )
    name = ctx.args.name or folder.name
    administrator = parse_subject(ctx.args.admin or workspaces.current_user_name())
    key_store = ctx.args.key_store or workspaces.detect_key_store()
    passphrase = _new_passphrase() if key_store is KeyStore.PASSPHRASE else None
    profile = await workspaces.create_workspace(
        folder, name=name, administrator=administrator, key_store=key_store, passphrase=passphrase
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
        {**_builtins(workspaces.load_workspace_metadata(folder)), "location": str(folder), "profile": profile.name},
        lines,
    )
    return ExitCode.OK


def _builtins(value: object) -> dict[str, object]:
    import msgspec

    found: dict[str, object] = msgspec.to_builtins(value)
    return found


def _new_passphrase() -> str:
    return workspaces.new_passphrase(os.environ, _ask_twice if is_interactive() else None)


def _ask_twice() -> str:
    first = ask_passphrase("A passphrase for the new key store: ")
    if first and ask_passphrase("The same again: ") != first:
        raise UsageError("The two passphrases are not the same.", "Start again.")
    return first


# ---- working


async def _run(ctx: Context) -> int:
    import asyncio

    from sealyard.cli.signals import stop_event

    folder = ctx.folder
    stop = stop_event()
    async with ctx.open_writer("run", finish=False) as client:
        told = _TaskReporter(ctx, await client.cursor())
        ctx.out.status(f"Working in {folder} as {ctx.profile.identity}; Ctrl-C ends it.")
        telling = asyncio.create_task(told.follow(client))
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({telling, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if telling.done():
            await telling
        with contextlib.suppress(TimeoutError, SealyardError):
            async with asyncio.timeout(SHUTDOWN_TIMEOUT):
                await told.run_until(await client.cursor())
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
    counts = Counter(told.ended.values())
    ctx.out.result({"ended": counts}, ("Closed. What is unfinished goes on at the next start.",))
    return ExitCode.OK


class _TaskReporter:
    """Says what happens to tasks, line by line, and remembers how they ended."""

    def __init__(self, ctx: Context, cursor: int) -> None:
        import asyncio

        self._ctx = ctx
        self._cursor = cursor
        self._moved = asyncio.Condition()
        self.ended: dict[str, TaskStatus] = {}

    async def follow(self, client: Client) -> None:
        from sealyard.model.events import TaskChanged, TaskProgressed

        async for event in client.events(self._cursor):
            if isinstance(event, TaskProgressed):
                progress = self._ctx.out.progress
                progress.show(event.task_id, event.bytes_done, event.bytes_total, None, event.eta_seconds)
                continue
            if isinstance(event, TaskChanged):
                self._say(event)
            async with self._moved:
                self._cursor = event.cursor
                self._moved.notify_all()

    async def run_until(self, cursor: int) -> None:
        """Waits until all up to there was told."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._cursor >= cursor)

    def _say(self, event: TaskChanged) -> None:
        state = f", {event.result_state}" if event.result_state else ""
        words = f"{event.task_id}  {event.status}{state}  {event.kind} {event.name}"
        self._ctx.out.status(f"{format_time(event.at)}  {words}")
        if event.status.is_final:
            self.ended[event.task_id] = event.status


def _demo(ctx: Context) -> int:
    if not ctx.args.headless:
        front.require_terminal()
    from sealyard.cli.commands import demo

    return demo.run(ctx)


def _worker(_: Context) -> int:
    from sealyard.worker.__main__ import main

    return main()
