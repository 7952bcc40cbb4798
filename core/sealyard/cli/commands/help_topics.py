"""``sealyard help``: help on topics that concern several commands."""

from __future__ import annotations

from sealyard.cli.arguments import Commands, add_command
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import DESCRIPTIONS, ExitCode
from sealyard.cli.output import format_fields


def add_commands(commands: Commands) -> None:
    parser = add_command(commands, "help", _help, "Show help on a topic")
    parser.add_argument("topic", metavar="TOPIC", choices=("exit-codes",), help="exit-codes: meaning of the exit codes")


def _help(ctx: Context) -> int:
    codes = {str(int(code)): text for code, text in DESCRIPTIONS.items()}
    ctx.out.result(codes, format_fields(codes.items()))
    return ExitCode.OK
