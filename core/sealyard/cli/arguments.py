"""Helpers for declaring commands: the parser class, the global options, and argument types."""

from __future__ import annotations

import argparse
import glob
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeAlias, TypeVar

from sealyard.model.display_zone import display_zone
from sealyard.model.errors import UsageError
from sealyard.model.formatting import parse_duration
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from sealyard.cli.context import Context

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

_NAMED_URI = re.compile(r"(?:([^:]*?)=)?([a-z][a-z0-9]*:.*)")
_PATTERN_CHARACTERS = frozenset("*?[")

Handler = Callable[["Context"], int | Coroutine[Any, Any, int]]
"""A function or coroutine function that runs a command and returns its exit code."""


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises :class:`UsageError` for invalid arguments instead of exiting the process."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        text = escape_text(message)
        raise UsageError(f"{text[:1].upper()}{text[1:]}.", f"See `{self.prog} --help`.")


Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"


@cache
def build_global_options() -> CommandParser:
    """Return a parent parser with the options that all commands accept.

    Its options have no defaults, so that the parser of a command does not reset an option given before the command.
    """
    options = CommandParser(add_help=False, argument_default=argparse.SUPPRESS)
    options.add_argument("--workspace", metavar="DIR", type=folder, help="folder of the workspace")
    options.add_argument("--profile", metavar="NAME", help="profile: a workspace or server and an identity")
    options.add_argument("--json", action="store_true", help="print one JSON value on standard output")
    return options


def add_command(
    commands: Commands,
    name: str,
    handler: Handler,
    description: str,
    *,
    aliases: Sequence[str] = (),
    hidden: bool = False,
) -> CommandParser:
    """Add a command that runs ``handler``, and return its parser. A ``hidden`` command is not listed in the help."""
    help_options: dict[str, Any] = {} if hidden else {"help": description}
    parser = commands.add_parser(
        name, aliases=aliases, description=description, parents=[build_global_options()], **help_options
    )
    parser.set_defaults(handler=handler, application=False)
    return parser


def add_command_group(commands: Commands, name: str, description: str) -> Commands:
    """Add a command group such as ``device``, and return the object to which its subcommands are added."""
    parser = commands.add_parser(name, help=description, description=description, parents=[build_global_options()])
    return parser.add_subparsers(metavar="COMMAND", required=True, dest="subcommand")


class choice(Generic[E]):  # noqa: N801 - used like the functions below
    """An argument type for the values of an enum, in upper or lower case.

    ``values``: the texts that it accepts, for shell completion.
    """

    def __init__(self, enum: type[E]) -> None:
        self.values = tuple(enum)
        self._values_by_text = {value.casefold(): value for value in enum}

    def __call__(self, text: str) -> E:
        value = self._values_by_text.get(text.casefold())
        if value is None:
            raise argparse.ArgumentTypeError(f"invalid value {text!r}; use one of {', '.join(self.values)}")
        return value


class named(Generic[T]):  # noqa: N801 - used like the functions below
    """An argument type for ``[NAME=]VALUE``: returns the name (empty if omitted) and the value converted by another."""

    def __init__(self, value_type: Callable[[str], T]) -> None:
        self._value_type = value_type
        self.values = getattr(value_type, "values", None)

    def __call__(self, text: str) -> tuple[str, T]:
        name, _, value = text.rpartition("=")
        return name, self._value_type(value)


def named_uri(text: str) -> tuple[str, str]:
    """Parse ``[NAME=]URI``, and return the name (empty if omitted) and the URI, which can contain equals signs."""
    match = _NAMED_URI.fullmatch(text)
    return (match[1] or "", match[2]) if match is not None else ("", text)


def folder(text: str) -> Path:
    """Parse a folder argument, which must be valid Unicode because its path is stored as text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the folder name is not valid Unicode") from None
    return Path(text)


def input_path(text: str) -> Path:
    """Parse the path of a file or folder that a command reads.

    The shell expands patterns such as ``fw/*.bin``, so a pattern that arrives here was quoted or matches nothing.
    """
    path = Path(text)
    if _PATTERN_CHARACTERS.isdisjoint(text) or os.path.lexists(path):
        return path
    if next(glob.iglob(text), None) is None:  # noqa: PTH207 - accepts absolute patterns
        raise argparse.ArgumentTypeError(f"no file matches {text!r}")
    raise argparse.ArgumentTypeError(f"the shell did not expand the pattern {text!r}; write it without quotes")


def require_text(args: argparse.Namespace) -> None:
    """Raise :class:`UsageError` if an argument is not valid Unicode. Paths are exempt: they can contain any bytes."""
    for name, value in vars(args).items():
        for item in value if isinstance(value, list) else [value]:
            try:
                for text in item if isinstance(item, tuple) else (item,):
                    if isinstance(text, str):
                        text.encode()
            except UnicodeEncodeError:
                raise UsageError(f"Invalid Unicode in {name}.", "Use UTF-8.") from None


def add_task_id(parser: argparse.ArgumentParser) -> None:
    """Add the positional argument ``ID``, which selects a task."""
    parser.add_argument("id", metavar="ID", help="id of the task, or an unambiguous prefix of it")


def duration(text: str) -> int:
    """Parse a duration argument such as ``30m`` and return the number of seconds."""
    try:
        return parse_duration(text)
    except UsageError:
        raise argparse.ArgumentTypeError(f"invalid duration {text!r}; use 90s, 30m, 24h or 30d") from None


def seconds(text: str) -> float:
    """Parse a timeout argument and return the number of seconds.

    The argument is a number of seconds, optionally with a fraction, or a duration such as ``30m``.
    """
    try:
        value = float(text)
    except ValueError:
        return duration(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"invalid duration {text!r}")
    return value


def timestamp(text: str) -> datetime:
    """Parse an ISO 8601 timestamp argument. It is in the display time zone unless it has a UTC offset."""
    try:
        return display_zone.parse(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"invalid time {text!r}; use 2030-12-31, 2030-12-31T18:00 or 2030-12-31T18:00+01:00"
        ) from None


class _OnOff:
    """An argument type for ``on`` (True) and ``off`` (False)."""

    values = ("on", "off")

    def __call__(self, text: str) -> bool:
        if text not in self.values:
            raise argparse.ArgumentTypeError(f"invalid value {text!r}; use on or off")
        return text == "on"


on_off = _OnOff()
