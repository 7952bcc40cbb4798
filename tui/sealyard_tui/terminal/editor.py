"""Text editing and viewing in the user's editor and pager."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

from sealyard.client.config.child_environment import remove_secrets
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text


def edit_text(app: App[Any], command: Sequence[str], text: str, suffix: str = ".txt") -> str:
    """Open ``text`` in an editor and return the edited text; the application is suspended in the meantime.

    ``command``: the editor and its arguments. ``suffix``: the suffix of the temporary file. Raises
    :class:`UsageError` if the editor cannot be started or fails.
    """
    with _temporary_file(text, suffix) as path:
        _run(app, command, path)
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\n")


def view_in_pager(app: App[Any], text: str, suffix: str = ".txt") -> None:
    """Show ``text`` in ``$PAGER``, or in ``less`` by default. Raises :class:`UsageError` if the pager fails."""
    try:
        command = shlex.split(os.environ.get("PAGER") or "less")
    except ValueError as error:
        raise UsageError("Unbalanced quote in $PAGER.", "Set it to a command.") from error
    with _temporary_file(text, suffix) as path:
        _run(app, command, path)


@contextlib.contextmanager
def _temporary_file(text: str, suffix: str) -> Iterator[Path]:
    """Yield the path of a file that contains ``text``, in a private directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="sealyard-") as folder:
        path = Path(folder) / f"text{suffix}"
        path.write_text(text, encoding="utf-8")
        yield path


def _run(app: App[Any], command: Sequence[str], path: Path) -> None:
    try:
        with app.suspend():
            code = subprocess.call([*command, str(path)], env=remove_secrets(os.environ))
    except SuspendNotSupported as error:
        raise UsageError("Cannot suspend the application in this terminal.", "Export the text instead.") from error
    except OSError as error:
        raise UsageError(
            f"{escape_text(command[0])} cannot be started ({error.strerror}).", "Choose an installed program."
        ) from error
    if code:
        raise UsageError(f"{escape_text(command[0])} exited with code {code}.", "The text is unchanged.")
