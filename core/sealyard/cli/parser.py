"""All commands together: loaded where one is named, or help is wanted."""

from __future__ import annotations

from sealyard.cli import app_launcher as front
from sealyard.cli.arguments import CommandParser
from sealyard.cli.commands import (
    access,
    audit,
    config,
    containers,
    credentials,
    decisions,
    devices,
    login,
    results,
    serve,
    tasks,
    watch,
    webhooks,
    workspace,
)
from sealyard.cli.commands import profiles as profile_commands
from sealyard.cli.commands import wait as waiting

COMMAND_MODULES = (
    workspace,
    serve,
    login,
    profile_commands,
    config,
    access,
    credentials,
    devices,
    tasks,
    decisions,
    waiting,
    results,
    watch,
    containers,
    audit,
    webhooks,
)
"""Each adds its commands, in the order of the help."""


def build_parser() -> CommandParser:
    parser = CommandParser(
        prog="sealyard",
        description="Signs and encrypts firmware under four eyes. Without a command it starts the application.",
        parents=[front.application_parser()],
    )
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for each in COMMAND_MODULES:
        each.add(commands)
    return parser
