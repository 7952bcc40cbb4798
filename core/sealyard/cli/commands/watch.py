"""`sealyard watch`: files dropped into a folder become packages."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.cli.arguments import Commands, command
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from sealyard.client.watch_folder.watcher import WatchEvent


def add(commands: Commands) -> None:
    watching = command(commands, "watch", _watch, "Makes packages of what is dropped into a folder, until interrupted.")
    watching.add_argument("folder", metavar="DIR", type=Path)
    watching.add_argument("--device", metavar="NAME", required=True, help="the device configuration")
    watching.add_argument("--submit", action="store_true", help="submit at once, rather than say what could be")


async def _watch(ctx: Context) -> int:
    import asyncio

    from sealyard.cli.signals import stop_event
    from sealyard.client.config.settings import DropAction
    from sealyard.client.downloads.history import DownloadHistory, default_history_path
    from sealyard.client.watch_folder.watcher import FolderWatcher, watch_state_file

    seen: list[WatchEvent] = []

    def tell(event: WatchEvent) -> None:
        if ctx.out.as_json:
            seen.append(event)
        ctx.out.status(_format_event(event))

    stop = stop_event()
    async with ctx.open_writer("watch", finish=False) as client:
        info = await client.workspace()
        folder = FolderWatcher(
            client,
            ctx.args.folder,
            ctx.args.device,
            tell,
            state=watch_state_file(info.id, info.subject, ctx.args.folder),
            downloads=ctx.downloads,
            downloaded=DownloadHistory(default_history_path(info.id, info.subject)),
            rule=DropAction.SUBMIT if ctx.args.submit else DropAction.PROPOSE,
        )
        ctx.out.status(f"Watching {ctx.args.folder} for {ctx.args.device}; Ctrl-C ends it.")
        watching = asyncio.create_task(folder.run())
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({watching, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if watching.done():
            await watching
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    ctx.out.result(seen, ("Closed.",))
    return ExitCode.OK


def _format_event(event: WatchEvent) -> str:
    from sealyard.client.watch_folder.watcher import DropDeferred, DropRejected, PackageProposal

    if isinstance(event, PackageProposal):
        return f"{event.name} could be packed: {_command(event.device, event.firmware, event.metadata)}"
    if isinstance(event, DropRejected):
        return f"{event.name}: {event.error.message} {event.error.hint}"
    if isinstance(event, DropDeferred):
        return f"{event.name}: {event.error.message} It is tried again in {event.retry_in:.0f} s."
    return f"{event.proposal.name} is task {event.task.id}, {event.task.status}"


def _command(device: str, firmware: tuple[str, ...], metadata: tuple[str, ...]) -> str:
    words = ["sealyard", "package", "--device", device, "--firmware", *firmware]
    if metadata:
        words += ["--metadata", *metadata]
    return shlex.join(words)
