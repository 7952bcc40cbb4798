"""Launcher of the full-screen application, which is loaded by name because the core cannot import it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.cli.arguments import CommandParser, build_global_options
from sealyard.cli.context import Context
from sealyard.client.config.profiles import PROFILE_VARIABLE, WORKSPACE_VARIABLE
from sealyard.client.config.servers import SERVER_VARIABLE, TOKEN_VARIABLE
from sealyard.model.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from sealyard.client.config.key_holder import KeyHolder

APPLICATION_MODULE = "sealyard_tui.launcher"
"""Module whose ``main`` runs the application. An entry point would need importlib.metadata, whose import and search
take a twentieth of the time until the first screen is shown.
"""

SCREENS = ("dashboard", "upload", "approvals", "audit", "devices", "access")

_APP_OPTIONS = ("read_only", "no_mouse", "start_screen", "filter")


def build_application_parser() -> CommandParser:
    """Return the parser for ``sealyard`` without a command."""
    parser = CommandParser(prog="sealyard", add_help=False, parents=[build_global_options()])
    parser.set_defaults(handler=start_app)
    add_app_options(parser)
    return parser


def add_app_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the application to the parser of a command that can start it.

    The options have no default values, so that :func:`reject_app_options` can detect which ones are given.
    """
    options = parser.add_argument_group("application options")
    no_default = argparse.SUPPRESS
    options.add_argument("--read-only", action="store_true", default=no_default, help="disable all modifying actions")
    options.add_argument("--no-mouse", action="store_true", default=no_default, help="do not use the mouse")
    options.add_argument(
        "--start-screen",
        metavar="SCREEN",
        choices=SCREENS,
        default=no_default,
        help=f"screen to open first: {', '.join(SCREENS)}",
    )
    options.add_argument("--filter", metavar="TEXT", default=no_default, help="filter of the first screen")
    parser.set_defaults(application=True)


def reject_app_options(args: argparse.Namespace) -> None:
    """Raise :class:`UsageError` if an option of the application is used with a command that does not start it."""
    if args.application and not getattr(args, "headless", False):
        return
    option = next((name for name in _APP_OPTIONS if hasattr(args, name)), None)
    if option is not None:
        raise UsageError(
            f"--{option.replace('_', '-')} is an option of the application, not of this command.", "Remove the option."
        )


def start_app(ctx: Context) -> int:
    """Start the application and return its exit code. Raises :class:`UsageError` if the terminal cannot display it.

    The selected workspace and profile are passed in environment variables.
    """
    require_terminal()
    select_in_environment(getattr(ctx.args, "workspace", None), getattr(ctx.args, "profile", None))
    return launch_app(ctx.args)


def select_in_environment(workspace: Path | None, profile: str | None) -> None:
    """Select a workspace and a profile, if they are given, for the application, which reads the environment.

    A server in the environment is then not selected. Its token is removed with it, so that no other server gets it.
    """
    if workspace is None and profile is None:
        return
    if os.environ.pop(SERVER_VARIABLE, None):
        os.environ.pop(TOKEN_VARIABLE, None)
    if workspace is not None:
        os.environ[WORKSPACE_VARIABLE] = str(workspace.absolute())
    if profile is not None:
        os.environ[PROFILE_VARIABLE] = profile


def require_terminal() -> None:
    """Raise :class:`UsageError` if there is no terminal that can display the application."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("Not a terminal: the application needs one.", "List commands with `sealyard --help`.")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("Unsupported terminal (TERM is dumb).", "List commands with `sealyard --help`.")


def launch_app(args: argparse.Namespace, key_holder: KeyHolder | None = None) -> int:
    """Run the application and return its exit code. Raises :class:`NotFoundError` if it is not installed.

    The options are passed in environment variables, which override the settings. ``key_holder``: the key holder of the
    selected workspace, if it is running already; the caller closes it.
    """
    os.environ.update(_environment_variables(args))
    try:
        launcher = importlib.import_module(APPLICATION_MODULE)
    except ModuleNotFoundError as error:
        if error.name not in (APPLICATION_MODULE, APPLICATION_MODULE.partition(".")[0]):
            raise
        raise NotFoundError("The application is not installed.", "List commands with `sealyard --help`.") from None
    return int(launcher.main(key_holder))


def _environment_variables(args: argparse.Namespace) -> dict[str, str]:
    variables: dict[str, str] = {}
    if hasattr(args, "read_only"):
        variables["SEALYARD_READ_ONLY"] = "1"
    if hasattr(args, "no_mouse"):
        variables["SEALYARD_MOUSE"] = "0"
    if hasattr(args, "start_screen"):
        variables["SEALYARD_START_SCREEN"] = args.start_screen
    if hasattr(args, "filter"):
        variables["SEALYARD_START_FILTER"] = args.filter
    return variables
