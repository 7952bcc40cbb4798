"""How commands are declared: global options before and after a command, and types of arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from sealyard.cli import exit_codes
from sealyard.model.errors import UsageError
from sealyard.model.formatting import parse_duration
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from sealyard.cli.context import Context

E = TypeVar("E", bound=StrEnum)

Handler = Callable[["Context"], int | Coroutine[Any, Any, int]]


class CommandParser(argparse.ArgumentParser):
    """Refuses what it does not understand with our error, never by leaving the process."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        options.setdefault("epilog", exit_codes.HELP)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{escape_text(message)}.", f"See `{self.prog} --help`.")


Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"


def global_options() -> CommandParser:
    """To be a parent of every parser; without defaults, so that a later parser does not undo an earlier one."""
    options = CommandParser(add_help=False, argument_default=argparse.SUPPRESS)
    options.add_argument("--workspace", metavar="DIR", type=folder, help="the workspace's folder")
    options.add_argument("--profile", metavar="NAME", help="a workspace and an identity on it, by name")
    options.add_argument("--json", action="store_true", help="print one JSON value on standard output, nothing else")
    return options


def command(
    commands: Commands, name: str, handler: Handler, about: str, *, aliases: Sequence[str] = (), hidden: bool = False
) -> CommandParser:
    """Add a command that runs ``handler``. The help of its family omits a ``hidden`` command."""
    shown: dict[str, Any] = {} if hidden else {"help": about}
    parser = commands.add_parser(name, aliases=aliases, description=about, parents=[global_options()], **shown)
    parser.set_defaults(handler=handler, application=False)
    return parser


def group(commands: Commands, name: str, about: str) -> Commands:
    """A command that is a family: `sealyard device create`."""
    parser = commands.add_parser(name, help=about, description=about, parents=[global_options()])
    return parser.add_subparsers(metavar="COMMAND", required=True, dest="subcommand")


def choice(values: type[E]) -> Callable[[str], E]:
    """The type of an argument that takes one of some names."""

    def convert(text: str) -> E:
        try:
            return values(text)
        except ValueError:
            known = ", ".join(values)
            raise argparse.ArgumentTypeError(f"{text!r} is none of {known}") from None

    return convert


def folder(text: str) -> Path:
    """A folder that is written down in a profile: its name must be text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the folder's name is not valid Unicode") from None
    return Path(text)


def require_text(args: argparse.Namespace) -> None:
    """Names and reasons are stored as text; only paths may be any bytes. Raises :class:`UsageError`."""
    for name, value in vars(args).items():
        for each in value if isinstance(value, list) else [value]:
            try:
                if isinstance(each, str):
                    each.encode()
            except UnicodeEncodeError:
                raise UsageError(f"What is given for {name} is not valid Unicode.", "Write it in UTF-8.") from None


def task_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the task's id, or a beginning of it that no other has")


def duration(text: str) -> int:
    """Seconds; see :func:`sealyard.model.formatting.parse_duration`."""
    try:
        return parse_duration(text)
    except UsageError:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; write 90s, 30m, 24h or 30d") from None


def seconds(text: str) -> float:
    """A duration, or seconds with a fraction."""
    try:
        value = float(text)
    except ValueError:
        return duration(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no time to wait")
    return value


def timestamp(text: str) -> datetime:
    """ISO 8601; in local time where no offset is given."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 2030-12-31 or 2030-12-31T18:00") from None


def on_off(text: str) -> bool:
    if text not in ("on", "off"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither on nor off")
    return text == "on"
