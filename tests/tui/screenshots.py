"""Screenshots of the application, compared by syrupy with the approved ones in ``tests/tui/pictures``.

``pytest tests/tui/test_pictures.py --snapshot-update`` renders them again; look at them before you commit them.
"""

from __future__ import annotations

import difflib
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.types import SerializedData, SnapshotIndex
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

_OMITTED = (
    re.compile(r"\s*@font-face \{.*?\}", re.DOTALL),  # fonts from the network
    re.compile(r'\s*<clipPath id="terminal-line-\d+">.*?</clipPath>', re.DOTALL),  # paths that clip nothing
    re.compile(r' clip-path="url\(#terminal-line-\d+\)"'),
    re.compile(r"<text [^>]*>\n</text>"),  # line ends
)
_SHORTENED = {
    "&#160;": "\xa0",
    "terminal-r": "r",
    ' shape-rendering="crispEdges"': "",
    "<style>": "<style>\nrect { shape-rendering: crispEdges }",
}
_TERMINAL_ID = re.compile(r"terminal-\d+")
_TEXT = re.compile(r'<text[^>]* y="([\d.]+)"[^>]*>(.*?)</text>')


class ScreenshotExtension(SingleFileSnapshotExtension):
    """Store each screenshot as ``pictures/<name>.svg``, and report differences as lines of the screen."""

    _write_mode = WriteMode.TEXT
    file_extension = "svg"

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(Path(test_location.filepath).with_name("pictures"))

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        return str(index)

    def diff_lines(self, serialized_data: SerializedData, snapshot_data: SerializedData) -> Iterator[str]:
        approved, current = (_screen_lines(str(data)) for data in (snapshot_data, serialized_data))
        lines = list(difflib.unified_diff(approved, current, "approved", "current", lineterm="", n=0))
        yield from lines or ["The text is the same; colors or styles differ."]


async def render_screenshot(pilot: Pilot[Any]) -> str:
    """Render the screen as SVG, without cursors and without the parts that differ between runs."""
    for widget in (*pilot.app.screen.query(Input), *pilot.app.screen.query(TextArea)):
        widget.cursor_blink = False
        # A cached line of a text area keeps the cursor in the state of its last blink.
        if isinstance(widget, TextArea):
            widget._line_cache.clear()
        widget.refresh()
    await pilot.pause()
    return _reduce_svg(pilot.app)


def _reduce_svg(app: App[Any]) -> str:
    svg = _TERMINAL_ID.sub("terminal", app.export_screenshot(title="Sealyard", simplify=True))
    for pattern in _OMITTED:
        svg = pattern.sub("", svg)
    for long, short in _SHORTENED.items():
        svg = svg.replace(long, short)
    return "\n".join(line.strip() for line in svg.splitlines() if line.strip()) + "\n"


def _screen_lines(svg: str) -> list[str]:
    rows: dict[float, list[str]] = {}
    for y, text in _TEXT.findall(svg):
        rows.setdefault(float(y), []).append(html.unescape(text).replace("\xa0", " "))
    return ["".join(parts).rstrip() for _, parts in sorted(rows.items())]
