"""Starts the application, found by its entry point; the core never imports it."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import entry_points

from sealyard.cli.arguments import CommandParser, global_options
from sealyard.cli.context import Context
from sealyard.client.config.profiles import PROFILE_VARIABLE, WORKSPACE_VARIABLE
from sealyard.model.errors import NotFoundError, UsageError

ENTRY_POINT_GROUP = "sealyard.front"
SCREENS = ("dashboard", "upload", "approvals", "audit", "devices", "access")


def application_parser() -> CommandParser:
    """Of `sealyard` without a command."""
    parser = CommandParser(prog="sealyard", add_help=False, parents=[global_options()])
    parser.set_defaults(handler=start_app)
    add_app_options(parser)
    return parser


def add_app_options(parser: argparse.ArgumentParser) -> None:
    """What only the application understands; without defaults, as the global options are."""
    options = parser.add_argument_group("options of the application")
    nothing = argparse.SUPPRESS
    options.add_argument("--read-only", action="store_true", default=nothing, help="look, and change nothing")
    options.add_argument("--no-mouse", action="store_true", default=nothing, help="leave the mouse to the terminal")
    options.add_argument(
        "--start-screen", metavar="NAME", choices=SCREENS, default=nothing, help=f"one of {', '.join(SCREENS)}"
    )
    options.add_argument("--filter", metavar="TEXT", default=nothing, help="narrow the first list to what holds TEXT")
    parser.set_defaults(application=True)


def reject_app_options(args: argparse.Namespace) -> None:
    """Raises :class:`UsageError` where an option of the application stands before something else."""
    if args.application and not getattr(args, "headless", False):
        return
    given = next((each for each in ("read_only", "no_mouse", "start_screen", "filter") if hasattr(args, each)), None)
    if given is not None:
        raise UsageError(f"--{given.replace('_', '-')} is an option of the application alone.", "Leave it out.")


def start_app(ctx: Context) -> int:
    """`sealyard` without a command: the application learns workspace and profile from the environment."""
    require_terminal()
    if (workspace := getattr(ctx.args, "workspace", None)) is not None:
        os.environ[WORKSPACE_VARIABLE] = str(workspace.absolute())
    if (profile := getattr(ctx.args, "profile", None)) is not None:
        os.environ[PROFILE_VARIABLE] = profile
    return launch_app(ctx.args)


def require_terminal() -> None:
    """Raises :class:`UsageError` where nobody could see the application."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("The application needs a terminal.", "`sealyard --help` shows what works without one.")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError(
            "This terminal cannot show the application (TERM is dumb).", "`sealyard --help` shows what works here."
        )


def launch_app(args: argparse.Namespace) -> int:
    """The options reach the application as its settings do.

    Raises :class:`NotFoundError` where no application is installed.
    """
    os.environ.update(_settings(args))
    for found in entry_points(group=ENTRY_POINT_GROUP):
        return int(found.load()())
    raise NotFoundError("No application is installed.", "`sealyard --help` shows what works without one.")


def _settings(args: argparse.Namespace) -> dict[str, str]:
    found: dict[str, str] = {}
    if hasattr(args, "read_only"):
        found["SEALYARD_READ_ONLY"] = "1"
    if hasattr(args, "no_mouse"):
        found["SEALYARD_MOUSE"] = "0"
    if hasattr(args, "start_screen"):
        found["SEALYARD_START_SCREEN"] = args.start_screen
    if hasattr(args, "filter"):
        found["SEALYARD_START_FILTER"] = args.filter
    return found
