"""``sealyard completion``: scripts that complete commands, options and arguments in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sealyard.cli.arguments import CommandParser, Commands, add_command, input_path
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode

SHELLS = ("bash", "zsh", "fish")
_PATH_TYPES = (Path, input_path)
_BASH_FUNCTIONS = r"""
# Like the functions of shtab, which split names with spaces. The word is as typed: with backslashes or an open quote.
_sealyard_files() {
  local word="${1//\\/}"
  compgen -f -- "${word#[\"\']}"
}
_sealyard_dirs() {
  local word="${1//\\/}"
  compgen -d -- "${word#[\"\']}"
}
"""


def add_commands(commands: Commands, root_parser: CommandParser) -> None:
    """Add the command. ``root_parser``: the parser whose commands and options are completed."""
    parser = add_command(
        commands, "completion", partial(_print_script, root_parser), "Print a completion script for your shell"
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def _print_script(root_parser: CommandParser, ctx: Context) -> int:
    import shtab

    _add_following_files(root_parser)
    for _, action in _iterate_actions(root_parser):
        _set_completion(action)
    functions = _BASH_FUNCTIONS if ctx.args.shell == "bash" else ""
    script = shtab.complete(root_parser, shell=ctx.args.shell, preamble=functions)
    if ctx.out.as_json:
        ctx.out.result({"shell": ctx.args.shell, "script": script}, ())
    else:
        ctx.out.document(script)
    return ExitCode.OK


def _iterate_actions(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, argparse.Action]]:
    """Yield the options and arguments of a parser and of its commands, each with the parser that has it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command_parser in {id(choice): choice for choice in action.choices.values()}.values():
                yield from _iterate_actions(command_parser)
        else:
            yield parser, action


def _set_completion(action: Any) -> None:
    """Set what shtab completes: the values of an enum, files, or folders."""
    import shtab

    if (values := getattr(action.type, "values", None)) is not None:
        action.choices = values
        # The help is also the description of each value, so it must not list them.
        action.help = (action.help or "").replace(", ".join(values), "").strip("; ")
    elif action.type in _PATH_TYPES or action.metavar in ("FILE", "DIR"):
        is_folder = action.metavar == "DIR"
        action.complete = {
            **(shtab.DIRECTORY if is_folder else shtab.FILE),
            "bash": "_sealyard_dirs" if is_folder else "_sealyard_files",
        }


def _add_following_files(root_parser: CommandParser) -> None:
    """Add an argument for the files after the first one of options such as ``--firmware FILE [FILE ...]``.

    The scripts of shtab for zsh and fish complete only the first value of an option.
    """
    for parser in {parser for parser, action in _iterate_actions(root_parser) if _is_file_list(action)}:
        parser.add_argument("following_files", metavar="FILE", nargs="*", type=input_path)


def _is_file_list(action: argparse.Action) -> bool:
    return bool(action.option_strings) and action.type in _PATH_TYPES and action.nargs == "+"
