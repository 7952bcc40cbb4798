"""`sealyard download` and `renew`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.cli import downloads as fetching
from sealyard.cli.arguments import Commands, command, task_id
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode, exit_code_for_error
from sealyard.cli.task_format import format_task
from sealyard.model.errors import SealyardError, UsageError, error_from_info

if TYPE_CHECKING:
    from sealyard.client.downloads.downloader import Downloader, DownloadEvent, DownloadResult
    from sealyard.client.protocol import Client


def add(commands: Commands) -> None:
    fetching_ = command(commands, "download", _download, "Brings results down, checks them and marks them.")
    fetching_.add_argument("ids", metavar="ID", nargs="*", help="of tasks that are DONE")
    fetching_.add_argument("--all", action="store_true", help="all of mine that were not fetched yet")
    fetching_.add_argument("--out", metavar="DIR", type=Path, help="by default the profile's download folder")
    task_id(command(commands, "renew", _renew, "Gives a result that is still kept a new link."))


async def _download(ctx: Context) -> int:
    args = ctx.args
    if bool(args.ids) == args.all:
        raise UsageError("Name tasks, or say --all.", "sealyard tasks --status DONE --mine")
    async with ctx.open_writer("download") as client:
        downloads = await fetching.make_downloader(ctx, client, args.out or ctx.downloads)
        outcomes = await _all(ctx, downloads) if args.all else await _download_ids(ctx, client, downloads)
    errors = [error_from_info(each.error) for each in outcomes if each.error is not None]
    if len(args.ids) == 1 and errors:
        raise errors[0]
    ctx.out.result(outcomes, _lines(outcomes))
    return exit_code_for_error(errors[0]) if errors else ExitCode.OK


async def _all(ctx: Context, downloads: Downloader) -> tuple[DownloadResult, ...]:
    from sealyard.client.downloads.downloader import DownloadProgress

    def show(event: DownloadEvent) -> None:
        if isinstance(event, DownloadProgress):
            ctx.out.progress.show(event.name, event.bytes_done, event.bytes_total, None, None)

    return await downloads.download_pending(show)


async def _download_ids(ctx: Context, client: Client, downloads: Downloader) -> tuple[DownloadResult, ...]:
    from sealyard.client.downloads.downloader import DownloadResult

    outcomes = []
    for each in ctx.args.ids:
        try:
            task = await client.task(each)
            found = await downloads.download(task.id, progress=ctx.out.progress.for_file(task.name))
            outcomes.append(DownloadResult(task_id=task.id, name=task.name, downloaded=found))
        except SealyardError as error:
            outcomes.append(DownloadResult(task_id=each, name="", error=error.to_info()))
    return tuple(outcomes)


def _lines(outcomes: Iterable[DownloadResult]) -> list[str]:
    lines = []
    for each in outcomes:
        if each.downloaded is not None:
            lines.append(f"{each.task_id}  {fetching.format_download(each.downloaded)}")
            lines += [f"  warning: {warning}" for warning in each.downloaded.warnings]
        if each.error is not None:
            lines.append(f"{each.task_id}  {each.error.message} {each.error.hint}".rstrip())
    return lines or ["There is nothing to fetch."]


async def _renew(ctx: Context) -> int:
    async with ctx.open_writer("renew") as client:
        task = await client.renew(ctx.args.id)
    ctx.out.result(task, format_task(task))
    return ExitCode.OK
