"""The argument parser with all commands. This module is imported only if a command or help is requested."""

from __future__ import annotations

from importlib.metadata import version

from sealyard.cli.app_launcher import build_application_parser
from sealyard.cli.arguments import CommandParser
from sealyard.cli.commands import (
    access,
    audit,
    config,
    containers,
    credentials,
    decisions,
    devices,
    help_topics,
    login,
    profiles,
    resubmit,
    results,
    serve,
    tasks,
    wait,
    watch,
    webhooks,
    workspace,
)

COMMAND_MODULES = (
    workspace,
    serve,
    login,
    profiles,
    config,
    access,
    credentials,
    devices,
    tasks,
    resubmit,
    decisions,
    wait,
    results,
    watch,
    containers,
    audit,
    webhooks,
    help_topics,
)
"""Modules with commands, in the order in which the help lists them."""


def build_parser() -> CommandParser:
    parser = CommandParser(
        prog="sealyard",
        description="Sign and encrypt firmware under dual control. Without a command, start the application.",
        epilog="See `sealyard COMMAND --help` for a command, `sealyard help exit-codes` for the exit codes.",
        parents=[build_application_parser()],
    )
    parser.add_argument(
        "--version", action="version", version=f"sealyard {version('sealyard')}", help="show the version"
    )
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for module in COMMAND_MODULES:
        module.add_commands(commands)
    return parser
