"""The ``sealyard`` command: starts the application, or runs a subcommand."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Coroutine, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any

from sealyard.cli.app_launcher import build_application_parser, reject_app_options
from sealyard.cli.arguments import require_text
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode, exit_code_for_error
from sealyard.cli.output import Output, OutputError, escape_unencodable
from sealyard.cli.streams import open_missing_streams, redirect_to_null
from sealyard.client.log import redact
from sealyard.model.ascii_signs import uses_ascii_signs
from sealyard.model.display_zone import display_zone, load_zone
from sealyard.model.errors import SealyardError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see :mod:`sealyard.cli.exit_codes`)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    open_missing_streams()
    logging.getLogger().addHandler(logging.NullHandler())
    escape_unencodable(sys.stdout)
    escape_unencodable(sys.stderr)
    out = Output(as_json="--json" in arguments, decide_ascii=_uses_ascii_signs)
    display_zone.use_later(lambda: _load_display_zone(out))
    code: int = ExitCode.FAILED
    try:
        code = _run(arguments, out)
        out.flush()
    except BrokenPipeError:
        redirect_to_null(sys.stdout)
        return ExitCode.PIPE_CLOSED
    except OutputError as error:
        redirect_to_null(sys.stdout)
        out.error(error)
        return code or ExitCode.FAILED
    return code


def _run(arguments: Sequence[str], out: Output) -> int:
    try:
        args = _parse(arguments)
        require_text(args)
        reject_app_options(args)
        with contextlib.closing(Context(args, out)) as context:
            result = args.handler(context)
            return _run_coroutine(result) if isinstance(result, Coroutine) else int(result)
    except SystemExit as exit_request:  # --help, --version
        return int(exit_request.code or 0)
    except KeyboardInterrupt:
        out.error(_InterruptedError("Interrupted.", "Submitted tasks are kept; unfinished ones resume later."))
        return ExitCode.INTERRUPTED
    except (BrokenPipeError, OutputError):
        raise
    except SealyardError as error:
        out.error(error)
        return exit_code_for_error(error)
    except Exception:
        out.error(_report_crash())
        return ExitCode.FAILED


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments. Imports the command modules only if needed, so that the application starts faster."""
    with contextlib.suppress(UsageError):
        args, unknown_arguments = build_application_parser().parse_known_args(arguments)
        if not unknown_arguments:
            return args
    from sealyard.cli.parser import parse_arguments

    return parse_arguments(arguments)


def _load_display_zone(out: Output) -> tzinfo | None:
    """Return the time zone of the settings. Commands work without the settings, so invalid ones cause a warning."""
    from sealyard.client.config.settings_loader import load_settings, settings_path

    try:
        return load_zone(load_settings(settings_path()).time_zone)
    except UsageError as error:
        out.warn(f"warning: {error} Times are displayed in the local time zone.")
        return None


def _uses_ascii_signs() -> bool:
    """Return whether signs are ASCII characters, from the setting ``symbols`` and the locale."""
    from sealyard.client.config.settings_loader import Settings, load_settings, settings_path

    try:
        settings = load_settings(settings_path())
    except UsageError:
        settings = Settings()
    return uses_ascii_signs(settings.symbols, os.environ)


class _InterruptedError(SealyardError):
    code = "interrupted"


def _run_coroutine(command: Coroutine[Any, Any, int]) -> int:
    import asyncio  # imported here so that the application starts faster

    return asyncio.run(command)


def _report_crash() -> SealyardError:
    """Append the traceback of the current exception to a log file, and return an error to show to the user."""
    from platformdirs import user_log_path

    path = user_log_path("sealyard") / "cli.log"
    try:
        _append_to_log(path, redact(traceback.format_exc()))
    except OSError as error:
        return SealyardError(
            "Internal error.",
            f"Cannot write the details to {path} ({error.strerror}). Set XDG_STATE_HOME to a folder that you can write"
            " to, and try again.",
        )
    return SealyardError("Internal error.", f"Details: {path}")


def _append_to_log(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
