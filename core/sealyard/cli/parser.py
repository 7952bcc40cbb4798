"""The argument parsers of the commands. This module is imported only if a command or help is requested."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

from sealyard.cli.app_launcher import build_application_parser
from sealyard.cli.arguments import CommandParser
from sealyard.cli.commands import completion
from sealyard.cli.examples import format_examples
from sealyard.model.errors import UsageError

COMMANDS = {
    "workspace": ("init", "run", "demo"),
    "serve": ("serve",),
    "login": ("login", "logout"),
    "profiles": ("profile",),
    "config": ("config",),
    "access": ("subject", "group", "acl", "policy"),
    "credentials": ("token", "otp"),
    "devices": ("device",),
    "keys": ("key",),
    "tasks": ("package", "encrypt", "sign", "tasks", "show"),
    "resubmit": ("resubmit",),
    "decisions": ("approve", "reject", "withdraw", "cancel"),
    "wait": ("wait",),
    "results": ("download", "renew"),
    "watch": ("watch",),
    "containers": ("verify", "extract"),
    "audit": ("audit",),
    "webhooks": ("webhook",),
    "clock": ("clock",),
    "recover": ("recover",),
    "notifications": ("notification",),
    "db": ("db",),
    "bus": ("bus",),
    "s3": ("s3",),
    "move": ("workspace",),
    "worker": ("worker",),
    "help_topics": ("help",),
}
"""Modules of :mod:`sealyard.cli.commands`, and the commands that each adds, in the order of the help."""

ARGUMENTS_FOR_ALL = frozenset(("-h", "--help", "completion"))
"""Arguments that need the parsers of all commands."""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of a command. Raises :class:`UsageError` if they are invalid.

    Loads only the modules whose commands occur in the arguments, because the parsers of all commands take longer than
    many commands. The texts of help and of errors list all of them.
    """
    modules = [module for module, commands in COMMANDS.items() if not set(commands).isdisjoint(arguments)]
    if ARGUMENTS_FOR_ALL.isdisjoint(arguments):
        with contextlib.suppress(UsageError):
            return build_parser(modules).parse_args(arguments)
    return build_parser().parse_args(arguments)


def build_parser(modules: Iterable[str] = tuple(COMMANDS)) -> CommandParser:
    """Return a parser with the commands of ``modules``, which are keys of :data:`COMMANDS`."""
    parser = CommandParser(
        prog="sealyard",
        description="Sign and encrypt firmware under dual control. Without a command, start the application.",
        epilog="See `sealyard COMMAND --help` for a command, `sealyard help exit-codes` for the exit codes.",
        parents=[build_application_parser()],
    )
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    for module in modules:
        importlib.import_module(f"sealyard.cli.commands.{module}").add_commands(commands)
    completion.add_commands(commands, parser)
    for command, command_parser in iterate_parsers(parser):
        command_parser.epilog = "\n\n".join(filter(None, (format_examples(command), command_parser.epilog)))
    return parser


class _ShowVersion(argparse.Action):
    """Like the action ``version``, but looks the version up only when it is shown."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version  # takes a twentieth of the time of a command

        sys.stdout.write(f"sealyard {version('sealyard')}\n")
        parser.exit()


def iterate_parsers(root_parser: CommandParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the name (such as ``device create``) and parser of each command. The root parser has an empty name."""
    pending: list[argparse.ArgumentParser] = [root_parser]
    while pending:
        parser = pending.pop()
        yield parser.prog.removeprefix(root_parser.prog).strip(), parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                pending += dict.fromkeys(action.choices.values())
