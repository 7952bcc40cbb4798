"""The `sealyard` command. Without a command it starts the application, with one it does its work and leaves."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from sealyard.cli import app_launcher as front
from sealyard.cli.arguments import require_text
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode, exit_code_for_error
from sealyard.cli.output import Output, escape_unencodable
from sealyard.client.log import redact
from sealyard.model.errors import SealyardError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the answer is its exit code (:mod:`sealyard.cli.exit_codes`)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    logging.getLogger().addHandler(logging.NullHandler())
    escape_unencodable(sys.stdout)
    escape_unencodable(sys.stderr)
    out = Output(as_json="--json" in arguments)
    try:
        code = _run(arguments, out)
        sys.stdout.flush()
    except BrokenPipeError:
        _detach_stdout()
        return ExitCode.PIPE_CLOSED
    return code


def _run(arguments: Sequence[str], out: Output) -> int:
    try:
        args = _parsed(arguments)
        require_text(args)
        front.reject_app_options(args)
        outcome = args.handler(Context(args, out))
        return _run_coroutine(outcome) if isinstance(outcome, Coroutine) else int(outcome)
    except SystemExit as leaving:  # --help
        return int(leaving.code or 0)
    except KeyboardInterrupt:
        out.error(_InterruptedError("Interrupted.", "What was accepted is kept; what was not finished goes on later."))
        return ExitCode.INTERRUPTED
    except SealyardError as error:
        out.error(error)
        return exit_code_for_error(error)
    except BrokenPipeError:
        raise
    except Exception:
        out.error(_report_crash())
        return ExitCode.FAILED


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    """Without a command none is loaded: the application is seen sooner."""
    with contextlib.suppress(UsageError):
        args, others = front.application_parser().parse_known_args(arguments)
        if not others:
            return args
    from sealyard.cli.parser import build_parser

    return build_parser().parse_args(arguments)


class _InterruptedError(SealyardError):
    code = "interrupted"


def _run_coroutine(command: Coroutine[Any, Any, int]) -> int:
    import asyncio  # only for commands that need it: the application is seen sooner without

    return asyncio.run(command)


def _report_crash() -> SealyardError:
    """A fault of ours: the details go to a file, a line to the person."""
    from platformdirs import user_log_path

    path = user_log_path("sealyard") / "cli.log"
    with contextlib.suppress(OSError):
        _append(path, redact(traceback.format_exc()))
    return SealyardError("Something went wrong that should not have.", f"The details are in {path}.")


def _append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text + "\n")


def _detach_stdout() -> None:
    """Whoever read us has left; the interpreter must not complain about it at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
