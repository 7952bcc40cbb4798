"""Output of commands, and formatting of tables and fields as text.

Results are written to standard output, warnings and errors to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, TextIO

import msgspec

from sealyard.cli.hints import format_hint
from sealyard.cli.progress import ProgressLine
from sealyard.cli.streams import redirect_to_null
from sealyard.model.ascii_signs import replace_signs
from sealyard.model.errors import SealyardError
from sealyard.model.safe_text import escape_multiline, escape_text

UNVERIFIED_NOTE = "note: unverified: the workspace was read without the key that authenticates its documents."


class OutputError(SealyardError):
    """Standard output cannot be written to, for example because the disk is full."""

    code = "output"


class Output:
    """The output of a command: results and messages. With ``as_json``, standard output receives exactly one JSON value.

    Untrusted text is escaped, so that it cannot control the terminal. Signs are ASCII characters if ``decide_ascii``
    returns True; it is called when a sign is written for the first time. Methods that write to standard output raise
    ``BrokenPipeError`` if its reader has exited, and :class:`OutputError` if writing fails for another reason.
    Messages that cannot be written to standard error are lost.
    """

    def __init__(self, *, as_json: bool, decide_ascii: Callable[[], bool] = lambda: False) -> None:
        self.as_json = as_json
        self.progress = ProgressLine(sys.stderr, self._replace_signs)
        self._is_store_verified = True
        self._has_noted_unverified = False
        self._decide_ascii = decide_ascii

    @cached_property
    def uses_ascii(self) -> bool:
        """Whether signs are replaced by ASCII characters."""
        return self._decide_ascii()

    def result(self, value: object, lines: Iterable[str]) -> None:
        """Print the result: ``value`` if the output is JSON, otherwise ``lines``."""
        self.progress.clear()
        self._note_unverified()
        if self.as_json:
            content = msgspec.to_builtins(value)
            self._write_json(content if self._is_store_verified else _mark_unverified(content))
            return
        for line in lines:
            self._write(f"{self._replace_signs(escape_text(line))}\n")

    def status(self, text: str) -> None:
        """Print the status of a long-running command, unless the output is JSON.

        Does not raise :class:`OutputError`: a full disk must not end a service.
        """
        self.progress.clear()
        if not self.as_json:
            with suppress(OutputError):
                self._write(f"{self._replace_signs(escape_text(text))}\n")
                self.flush()

    def document(self, text: str) -> None:
        """Print part of a document to standard output: escaped for a terminal, unchanged for a file or pipe."""
        self.progress.clear()
        self._note_unverified()
        self._write(escape_multiline(text) if sys.stdout.isatty() else text)

    def mark_unverified(self) -> None:
        """Say with the following results that they come from a store that was read without its key.

        A note is printed to standard error. In JSON, each object that is a result or an item of a list gets the member
        ``storeVerified``, which is false.
        """
        self._is_store_verified = False

    def warn(self, text: str) -> None:
        """Print a message to standard error."""
        self.progress.clear()
        self._write_message(escape_text(text))

    def error(self, error: SealyardError) -> None:
        """Print an error and its hint to standard error. If the output is JSON, also print the error as the result."""
        self.progress.clear()
        self._write_message(f"sealyard: {escape_text(error.message)}")
        if hint := format_hint(error):
            self._write_message(f"  {escape_text(hint)}")
        if self.as_json:
            try:
                self._write_json({"error": msgspec.to_builtins(error.to_info())})
                self.flush()
            except OutputError:  # the error is already on standard error
                redirect_to_null(sys.stdout)

    def flush(self) -> None:
        """Write buffered results to standard output."""
        with _raise_output_errors():
            sys.stdout.flush()

    def _write_json(self, content: object) -> None:
        # ASCII only, so that file names cannot control a terminal.
        self._write(f"{json.dumps(content, indent=2)}\n")

    def _note_unverified(self) -> None:
        if not self._is_store_verified and not self._has_noted_unverified:
            self._has_noted_unverified = True
            self.warn(UNVERIFIED_NOTE)

    def _replace_signs(self, text: str) -> str:
        return replace_signs(text) if not text.isascii() and self.uses_ascii else text

    def _write(self, text: str) -> None:
        with _raise_output_errors():
            sys.stdout.write(text)

    def _write_message(self, text: str) -> None:
        try:
            print(self._replace_signs(text), file=sys.stderr, flush=True)
        except OSError:
            redirect_to_null(sys.stderr)


def _mark_unverified(content: Any) -> Any:
    if isinstance(content, list | tuple):
        return [_mark_unverified(item) for item in content]
    return {**content, "storeVerified": False} if isinstance(content, dict) else content


@contextmanager
def _raise_output_errors() -> Iterator[None]:
    """Convert errors raised while writing to standard output to :class:`OutputError`, except ``BrokenPipeError``."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"Cannot write to standard output ({error.strerror}).",
            "The command may have taken effect. Check the task or object before you repeat it.",
        ) from error


def escape_unencodable(stream: TextIO) -> None:
    """Make a stream escape characters that its encoding cannot represent, instead of raising an error."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


MAX_CELL_WIDTH = 60
"""Maximum width of a table cell in characters; longer text is truncated."""


def format_table(headers: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> Iterator[str]:
    """Yield the lines of a table with aligned columns, or only the line ``empty`` if there are no rows.

    Cells are escaped and truncated to :data:`MAX_CELL_WIDTH`.
    """
    cells = [[escape_text(str(cell), MAX_CELL_WIDTH) for cell in row] for row in rows]
    if not cells:
        yield empty
        return
    widths = [max(len(row[column]) for row in (list(headers), *cells)) for column in range(len(headers))]
    for row in (list(headers), *cells):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def format_fields(pairs: Iterable[tuple[str, object]]) -> Iterator[str]:
    """Yield one line per name and value, with the values aligned. Pairs with an empty value are omitted."""
    fields = [(name, str(value)) for name, value in pairs if value not in ("", None, ())]
    width = max((len(name) for name, _ in fields), default=0)
    for name, value in fields:
        yield f"{name.ljust(width)}  {value}"
