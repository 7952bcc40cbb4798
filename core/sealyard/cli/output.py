"""What a command prints: its outcome on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

import msgspec

from sealyard.cli.progress import ProgressLine
from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_multiline, escape_text


class Output:
    """With ``as_json`` standard output gets exactly one JSON value; foreign text is harmless either way."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.progress = ProgressLine(sys.stderr)

    def result(self, value: object, lines: Iterable[str]) -> None:
        """The outcome: as a value for programs, in lines for people."""
        self.progress.clear()
        if self.as_json:
            # ASCII only: a terminal must not be moved by what a file was named.
            print(json.dumps(msgspec.to_builtins(value), indent=2))
            return
        for line in lines:
            print(escape_text(line))

    def status(self, text: str) -> None:
        """A line of something that goes on, for people only."""
        self.progress.clear()
        if not self.as_json:
            print(escape_text(text), flush=True)

    def document(self, text: str) -> None:
        """A piece of a text with a format of its own: as it is for a file or a pipe, harmless on a terminal."""
        self.progress.clear()
        sys.stdout.write(escape_multiline(text) if sys.stdout.isatty() else text)

    def warn(self, text: str) -> None:
        """Something worth knowing beside the outcome."""
        self.progress.clear()
        print(escape_text(text), file=sys.stderr, flush=True)

    def error(self, error: SealyardError) -> None:
        self.progress.clear()
        print(f"sealyard: {escape_text(error.message)}", file=sys.stderr)
        if error.hint:
            print(f"  {escape_text(error.hint)}", file=sys.stderr)
        if self.as_json:
            self.result({"error": error.to_info()}, ())


def escape_unencodable(stream: TextIO) -> None:
    """Characters that the terminal's encoding lacks are escaped rather than an error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


MAX_CELL_WIDTH = 60


def format_table(heads: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> Iterator[str]:
    """Lines with columns as wide as they need to be; ``empty`` is said where there are no rows."""
    cells = [[escape_text(str(cell), MAX_CELL_WIDTH) for cell in row] for row in rows]
    if not cells:
        yield empty
        return
    widths = [max(len(row[column]) for row in (list(heads), *cells)) for column in range(len(heads))]
    for row in (list(heads), *cells):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def format_fields(pairs: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Lines of a name and what it is; what is empty is left out."""
    shown = [(name, str(value)) for name, value in pairs if value not in ("", None, ())]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        yield f"{name.ljust(width)}  {value}"
