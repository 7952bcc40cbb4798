"""``sealyard clock``: confirm the system clock."""

from __future__ import annotations

from sealyard.cli.arguments import Commands, add_command, add_command_group
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.model.formatting import format_time


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "clock", "Confirm the system clock")
    confirm_parser = add_command(
        subcommands,
        "confirm",
        _confirm,
        "Confirm that the system clock is right, so that expired results are removed and expired tasks are cancelled",
    )
    confirm_parser.add_argument(
        "--yes", action="store_true", help="confirm the system time; without it, the time is only shown"
    )


async def _confirm(ctx: Context) -> int:
    async with ctx.open_writer("clock confirm") as client:
        confirmation = await client.confirm_clock(confirmed=ctx.args.yes)
    time = format_time(confirmation.time)
    text = (
        f"The system clock ({time}) is trusted already. Nothing was changed."
        if confirmation.already_trusted
        else f"Confirmed the system clock ({time})."
    )
    ctx.out.result(confirmation, (text,))
    return ExitCode.OK
