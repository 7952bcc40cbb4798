"""``sealyard worker list`` and ``drain``: the hosts of the crypto zone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealyard.cli.arguments import Commands, add_command
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_table
from sealyard.model.formatting import format_count, format_time
from sealyard.model.safe_text import escape_text
from sealyard.model.zone_format import format_last_contact, format_zone, host_state, list_zone_warnings

if TYPE_CHECKING:
    from sealyard.model.zone_status import CryptoHostStatus


def add_commands(subcommands: Commands) -> None:
    add_command(subcommands, "list", _list, "List the crypto hosts that execute the tasks of the workspace")
    drain_parser = add_command(subcommands, "drain", _drain, "Let a crypto host finish its jobs, then exit")
    drain_parser.add_argument("name", metavar="NAME", help="name of the crypto host, see `sealyard worker list`")


async def _list(ctx: Context) -> int:
    async with ctx.open_writer("worker list", run_tasks=False) as client:
        status = await client.zone_status()
    if status is None:
        ctx.out.result(None, ("The workspace has no crypto zone.",))
        return ExitCode.OK
    headers = ("NAME", "HOST", "VERSION", "WORKERS", "RUNNING", "STATE", "SEEN", "STARTED")
    lines = format_table(headers, map(_build_row, status.hosts), "No crypto hosts.")
    ctx.out.result(status, (f"zone {format_zone(status)}", *lines))
    for warning in list_zone_warnings(status):
        ctx.out.warn(f"warning: {warning}")
    return ExitCode.OK


def _build_row(host: CryptoHostStatus) -> tuple[object, ...]:
    return (
        host.name,
        host.hostname,
        host.version,
        host.slots,
        host.running_jobs,
        host_state(host),
        format_last_contact(host),
        format_time(host.started_at),
    )


async def _drain(ctx: Context) -> int:
    async with ctx.open_writer("worker drain", run_tasks=False) as client:
        host = await client.drain_crypto_host(ctx.args.name)
    count = format_count(host.running_jobs, "job")
    ctx.out.result(host, (f"{escape_text(host.name)} takes no more jobs. It exits after its {count}.",))
    return ExitCode.OK
