"""The person's own editor and pager, for texts that are longer than a line."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import SuspendNotSupported

from sealyard.client.config.settings_loader import editor_command
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from sealyard_tui.app import SealyardApp


def edit_text(app: SealyardApp, text: str, suffix: str = ".txt") -> str:
    """``text`` as it was saved in the editor; the application's screen is away meanwhile.

    Raises :class:`UsageError` where no editor is set, or it cannot be started or fails: then ``text`` stays as it was.
    """
    words = editor_command(app.settings)
    with _file(text, suffix) as path:
        _run(app, words, path)
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\n")


def view_in_pager(app: SealyardApp, text: str, suffix: str = ".txt") -> None:
    """Shows ``text`` in ``$PAGER``, else less. Raises :class:`UsageError` where that fails."""
    try:
        words = shlex.split(os.environ.get("PAGER") or "less")
    except ValueError as error:
        raise UsageError("$PAGER has a quotation mark without its partner.", "Set it to a command.") from error
    with _file(text, suffix) as path:
        _run(app, words, path)


@contextlib.contextmanager
def _file(text: str, suffix: str) -> Iterator[Path]:
    """In a folder that only this person can read, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="sealyard-") as folder:
        path = Path(folder) / f"text{suffix}"
        path.write_text(text, encoding="utf-8")
        yield path


def _run(app: SealyardApp, words: Sequence[str], path: Path) -> None:
    try:
        with app.suspend():
            code = subprocess.call([*words, str(path)])
    except SuspendNotSupported as error:
        raise UsageError("This terminal cannot be lent to another program.", "Export the text instead.") from error
    except OSError as error:
        raise UsageError(
            f"{escape_text(words[0])} cannot be started ({error.strerror}).", "Name a program that is there."
        ) from error
    if code:
        raise UsageError(f"{escape_text(words[0])} ended with {code}.", "The text stays as it was.")
