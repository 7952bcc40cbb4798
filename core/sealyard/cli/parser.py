"""The argument parser with all commands. This module is imported only if a command or help is requested."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.metadata import version

from sealyard.cli.app_launcher import build_application_parser
from sealyard.cli.arguments import CommandParser
from sealyard.cli.commands import (
    access,
    audit,
    bus,
    clock,
    completion,
    config,
    containers,
    credentials,
    db,
    decisions,
    devices,
    help_topics,
    keys,
    login,
    move,
    notifications,
    profiles,
    recover,
    resubmit,
    results,
    s3,
    serve,
    tasks,
    wait,
    watch,
    webhooks,
    worker,
    workspace,
)
from sealyard.cli.examples import format_examples

COMMAND_MODULES = (
    workspace,
    serve,
    login,
    profiles,
    config,
    access,
    credentials,
    devices,
    keys,
    tasks,
    resubmit,
    decisions,
    wait,
    results,
    watch,
    containers,
    audit,
    webhooks,
    clock,
    recover,
    notifications,
    db,
    bus,
    s3,
    move,
    worker,
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
    completion.add_commands(commands, parser)
    for command, command_parser in iterate_parsers(parser):
        command_parser.epilog = "\n\n".join(filter(None, (format_examples(command), command_parser.epilog)))
    return parser


def iterate_parsers(root_parser: CommandParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the name (such as ``device create``) and parser of each command. The root parser has an empty name."""
    pending: list[argparse.ArgumentParser] = [root_parser]
    while pending:
        parser = pending.pop()
        yield parser.prog.removeprefix(root_parser.prog).strip(), parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                pending += dict.fromkeys(action.choices.values())
