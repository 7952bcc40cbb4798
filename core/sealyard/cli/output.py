"""Output of commands, and tables as text. Results go to standard output, warnings and errors to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

import msgspec

from sealyard.cli.hints import format_hint
from sealyard.cli.progress import ProgressLine
from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_multiline, escape_text


class Output:
    """Prints results and messages. With ``as_json``, standard output contains exactly one JSON value.

    Untrusted text is escaped, so that it cannot control the terminal.
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
        """Print a part of a document on standard output: escaped on a terminal, unchanged in a file or pipe."""
        self.progress.clear()
        sys.stdout.write(escape_multiline(text) if sys.stdout.isatty() else text)

    def warn(self, text: str) -> None:
        """Print a message on standard error."""
        self.progress.clear()
        print(escape_text(text), file=sys.stderr, flush=True)

    def error(self, error: SealyardError) -> None:
        """Print an error and its hint on standard error, and as the result if the output is JSON."""
        self.progress.clear()
        print(f"sealyard: {escape_text(error.message)}", file=sys.stderr)
        if hint := format_hint(error):
            print(f"  {escape_text(hint)}", file=sys.stderr)
        if self.as_json:
            self.result({"error": error.to_info()}, ())


def escape_unencodable(stream: TextIO) -> None:
    """Escape characters that the encoding of the stream lacks, instead of raising an error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


MAX_CELL_WIDTH = 60
"""Maximum width of a table cell in characters; longer text is truncated."""


def format_table(headers: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> Iterator[str]:
    """Yield the lines of a table with aligned columns, or the line ``empty`` if there are no rows."""
    cells = [[escape_text(str(cell), MAX_CELL_WIDTH) for cell in row] for row in rows]
    if not cells:
        yield empty
        return
    widths = [max(len(row[column]) for row in (list(headers), *cells)) for column in range(len(headers))]
    for row in (list(headers), *cells):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def format_fields(pairs: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Yield an aligned line for each pair of a name and a value. Pairs with an empty value are omitted."""
    fields = [(name, str(value)) for name, value in pairs if value not in ("", None, ())]
    width = max((len(name) for name, _ in fields), default=0)
    for name, value in fields:
        yield f"{name.ljust(width)}  {value}"
