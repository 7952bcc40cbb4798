"""``sealyard watch``: create packages from files that are copied to a folder, or print commands that create them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sealyard.cli.arguments import Commands, add_command, input_path, seconds
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.hints import format_error
from sealyard.client.config.settings import DEFAULT_SETTLE_SECONDS

if TYPE_CHECKING:
    from sealyard.client.watch_folder.watcher import WatchEvent


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands, "watch", _watch, "Create packages from files dropped into a folder, until interrupted"
    )
    parser.add_argument("folder", metavar="DIR", type=input_path, help="the folder to watch")
    parser.add_argument("--device", metavar="NAME", required=True, help="device configuration of the packages")
    parser.add_argument("--submit", action="store_true", help="create the packages, instead of proposing commands")
    parser.add_argument(
        "--settle",
        metavar="TIME",
        type=seconds,
        default=DEFAULT_SETTLE_SECONDS,
        help="time without a change after which a file counts as complete (seconds, or 5m); by default 2",
    )
    parser.add_argument(
        "--justification", metavar="TEXT", default="", help="why the packages are needed, for their approvers"
    )
    parser.add_argument(
        "--polling", action="store_true", help="scan the folder every 2 s, if the system reports no changes in it"
    )


async def _watch(ctx: Context) -> int:
    import asyncio

    from sealyard.cli.signals import stop_event
    from sealyard.client.config.settings import DropAction
    from sealyard.client.downloads.history import DownloadHistory, default_history_path
    from sealyard.client.watch_folder.watcher import FolderWatcher, watch_state_file

    events: list[WatchEvent] = []

    def on_event(event: WatchEvent) -> None:
        if ctx.out.as_json:
            events.append(event)
        ctx.out.status(_format_event(event))

    stop = stop_event()
    async with ctx.open_writer("watch", finish_tasks=False) as client:
        info = await client.workspace()
        watcher = FolderWatcher(
            client,
            ctx.args.folder,
            ctx.args.device,
            on_event,
            state=watch_state_file(info.id, info.subject, ctx.args.folder),
            downloads=ctx.downloads,
            downloaded=DownloadHistory(default_history_path(info.id, info.subject)),
            rule=DropAction.SUBMIT if ctx.args.submit else DropAction.PROPOSE,
            settle=ctx.args.settle,
            force_polling=ctx.args.polling,
            justification=ctx.args.justification,
        )
        if watcher.warning:
            ctx.out.warn(f"warning: {watcher.warning}")
        ctx.out.status(f"Watching {ctx.args.folder} for device {ctx.args.device} (press Ctrl-C to stop)")
        watch_task = asyncio.create_task(watcher.run())
        stop_wait = asyncio.create_task(stop.wait())
        await asyncio.wait({watch_task, stop_wait}, return_when=asyncio.FIRST_COMPLETED)
        stop_wait.cancel()
        if watch_task.done():
            await watch_task
        watch_task.cancel()
        await asyncio.gather(watch_task, return_exceptions=True)
    ctx.out.result(events, ("Stopped.",))
    return ExitCode.OK


def _format_event(event: WatchEvent) -> str:
    from sealyard.client.watch_folder.watcher import DropDeferred, DropRejected, PackageProposal

    if isinstance(event, PackageProposal):
        return f"{event.name} can be packaged: {_format_command(event.device, event.firmware, event.metadata)}"
    if isinstance(event, DropRejected):
        return f"{event.name}: {format_error(event.error)}"
    if isinstance(event, DropDeferred):
        return f"{event.name}: {event.error.message} Retrying in {event.retry_in:.0f} s."
    return f"{event.proposal.name}: created task {event.task.id} ({event.task.status})"


def _format_command(device: str, firmware: tuple[str, ...], metadata: tuple[str, ...]) -> str:
    arguments = ["sealyard", "package", "--device", device, "--firmware", *firmware]
    if metadata:
        arguments += ["--metadata", *metadata]
    return shlex.join(arguments)
