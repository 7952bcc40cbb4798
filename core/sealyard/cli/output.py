"""Output of commands: the result on standard output, everything else on standard error; and tables as text."""

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
    """Prints results and messages. With ``as_json``, standard output contains exactly one JSON value.

    Untrusted text cannot control the terminal in either case.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.progress = ProgressLine(sys.stderr)

    def result(self, value: object, lines: Iterable[str]) -> None:
        """Print the result: ``value`` as JSON, or ``lines`` as text."""
        self.progress.clear()
        if self.as_json:
            # ASCII only, so that file names cannot control a terminal.
            print(json.dumps(msgspec.to_builtins(value), indent=2))
            return
        for line in lines:
            print(escape_text(line))

    def status(self, text: str) -> None:
        """Print the status of a long-running command, unless the output is JSON."""
        self.progress.clear()
        if not self.as_json:
            print(escape_text(text), flush=True)

    def document(self, text: str) -> None:
        """Print a part of a document: unchanged to a file or pipe, escaped on a terminal."""
        self.progress.clear()
        sys.stdout.write(escape_multiline(text) if sys.stdout.isatty() else text)

    def warn(self, text: str) -> None:
        """Print a message on standard error."""
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
    """Escape characters that the encoding of the stream lacks, instead of raising an error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


MAX_CELL_WIDTH = 60


def format_table(heads: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> Iterator[str]:
    """Yield the lines of a table with aligned columns, or the line ``empty`` if there are no rows."""
    cells = [[escape_text(str(cell), MAX_CELL_WIDTH) for cell in row] for row in rows]
    if not cells:
        yield empty
        return
    widths = [max(len(row[column]) for row in (list(heads), *cells)) for column in range(len(heads))]
    for row in (list(heads), *cells):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def format_fields(pairs: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Yield a line for each name and value, without empty values."""
    fields = [(name, str(value)) for name, value in pairs if value not in ("", None, ())]
    width = max((len(name) for name, _ in fields), default=0)
    for name, value in fields:
        yield f"{name.ljust(width)}  {value}"
