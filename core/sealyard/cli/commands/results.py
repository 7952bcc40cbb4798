"""``sealyard download`` and ``renew``: download results and renew expired download links."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sealyard.cli.arguments import Commands, add_command, add_task_id
from sealyard.cli.context import Context
from sealyard.cli.downloads import download_url, format_download, make_downloader, open_for_download
from sealyard.cli.exit_codes import ExitCode, exit_code_for_error
from sealyard.cli.hints import format_error
from sealyard.cli.task_format import format_task
from sealyard.model.errors import SealyardError, UsageError, error_from_info

if TYPE_CHECKING:
    from sealyard.client.downloads.downloader import Downloader, DownloadEvent, DownloadResult
    from sealyard.client.protocol import Client


def add_commands(commands: Commands) -> None:
    parser = add_command(commands, "download", _download, "Download and verify results")
    parser.add_argument("ids", metavar="ID", nargs="*", help="ids of tasks that are DONE")
    parser.add_argument("--all", action="store_true", help="download all new results of your tasks")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, help="folder for the results; by default that of the profile"
    )
    add_task_id(add_command(commands, "renew", _renew, "Renew the expired download link of a result"))


async def _download(ctx: Context) -> int:
    args = ctx.args
    if bool(args.ids) == args.all:
        raise UsageError(
            "Specify either task ids or --all.", "List your tasks with `sealyard tasks --status DONE --mine`."
        )
    async with open_for_download(ctx) as client:
        downloader = await make_downloader(ctx, client, args.out or ctx.downloads)
        results = await _download_all(ctx, downloader) if args.all else await _download_ids(ctx, client, downloader)
        value = [await _describe_result(ctx, client, result) for result in results] if ctx.out.as_json else []
    errors = [error_from_info(result.error) for result in results if result.error is not None]
    if len(args.ids) == 1 and errors:
        raise errors[0]
    ctx.out.result(value, _format_results(results))
    return exit_code_for_error(errors[0]) if errors else ExitCode.OK


async def _download_all(ctx: Context, downloader: Downloader) -> tuple[DownloadResult, ...]:
    from sealyard.client.downloads.downloader import DownloadProgress

    def on_event(event: DownloadEvent) -> None:
        if isinstance(event, DownloadProgress):
            ctx.out.progress.show(event.name, event.bytes_done, event.bytes_total, None, None)

    return await downloader.download_pending(on_event)


async def _download_ids(ctx: Context, client: Client, downloader: Downloader) -> tuple[DownloadResult, ...]:
    from sealyard.client.downloads.downloader import DownloadResult

    results = []
    for given_id in ctx.args.ids:
        try:
            task = await client.task(given_id)
            file = await downloader.download(task.id, progress=ctx.out.progress.for_file(task.name))
            results.append(DownloadResult(task_id=task.id, name=task.name, downloaded=file))
        except SealyardError as error:
            results.append(DownloadResult(task_id=given_id, name="", error=error.to_info()))
    return tuple(results)


async def _describe_result(ctx: Context, client: Client, result: DownloadResult) -> dict[str, object]:
    """Return the JSON value of a result. If the URL of a downloaded file cannot be loaded, it is omitted."""
    url = None
    if result.downloaded is not None and ctx.profile.server:
        with contextlib.suppress(SealyardError):
            url = download_url(ctx, await client.task(result.task_id))
    return {**msgspec.to_builtins(result), "downloadUrl": url}


def _format_results(results: Iterable[DownloadResult]) -> list[str]:
    lines = []
    for result in results:
        if result.downloaded is not None:
            lines.append(f"{result.task_id}  {format_download(result.downloaded)}")
            lines += [f"  warning: {warning}" for warning in result.downloaded.warnings]
        if result.error is not None:
            lines.append(f"{result.task_id}  {format_error(result.error)}")
    return lines or ["No new results."]


async def _renew(ctx: Context) -> int:
    async with ctx.open_writer("renew") as client:
        task = await client.renew(ctx.args.id)
    ctx.out.result(task, format_task(task))
    return ExitCode.OK
