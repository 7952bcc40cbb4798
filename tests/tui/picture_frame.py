"""Pictures of screens as SVG, held against those that were looked at; made anew with SEALYARD_REMAKE_PICTURES=1."""

from __future__ import annotations

import difflib
import html
import os
import re
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

FOLDER = Path(__file__).parent / "pictures"
REMAKE = "SEALYARD_REMAKE_PICTURES"

LEFT_OUT = (
    re.compile(r"\s*@font-face \{.*?\}", re.DOTALL),  # it would be fetched from a network
    re.compile(r'\s*<clipPath id="terminal-line-\d+">.*?</clipPath>', re.DOTALL),  # lines that clip nothing
    re.compile(r' clip-path="url\(#terminal-line-\d+\)"'),
    re.compile(r"<text [^>]*>\n</text>"),  # ends of lines
)
SHORTER = {
    "&#160;": "\xa0",
    "terminal-r": "r",
    ' shape-rendering="crispEdges"': "",
    "<style>": "<style>\nrect { shape-rendering: crispEdges }",
}
NUMBER_OF_THE_RUN = re.compile(r"terminal-\d+")


async def same_picture(pilot: Pilot[Any], name: str, place: Path) -> None:
    """Fails where the screen looks other than its picture; what it looks like now is left in ``place``."""
    for each in (*pilot.app.screen.query(Input), *pilot.app.screen.query(TextArea)):
        each.cursor_blink = False
        # Else the picture would have the cursor as it blinked last.
        if isinstance(each, TextArea):
            each._line_cache.clear()
        each.refresh()
    await pilot.pause()
    svg = picture_of(pilot.app)
    kept = FOLDER / f"{name}.svg"
    if os.environ.get(REMAKE):
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(svg, encoding="utf-8")
        return
    if not kept.exists():
        pytest.fail(f"There is no picture {kept.name}: make it with {REMAKE}=1, and look at it.")
    before = kept.read_text(encoding="utf-8")
    if svg != before:
        now = place / f"{name}.svg"
        now.parent.mkdir(parents=True, exist_ok=True)
        now.write_text(svg, encoding="utf-8")
        changes = "\n".join(difflib.unified_diff(_words(before), _words(svg), "before", "now", lineterm="", n=0))
        pytest.fail(f"{name} looks other than its picture: see {now}\n{changes or 'The words are the same.'}")


def picture_of(app: App[Any]) -> str:
    """Without what changes from run to run, and without what a picture does not need."""
    svg = NUMBER_OF_THE_RUN.sub("terminal", app.export_screenshot(title="Sealyard", simplify=True))
    for each in LEFT_OUT:
        svg = each.sub("", svg)
    for long, short in SHORTER.items():
        svg = svg.replace(long, short)
    return "\n".join(line.strip() for line in svg.splitlines() if line.strip()) + "\n"


def _words(svg: str) -> list[str]:
    """What can be read in a picture, a line for each row."""
    rows: dict[float, list[str]] = {}
    for y, text in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>(.*?)</text>', svg):
        rows.setdefault(float(y), []).append(html.unescape(text).replace("\xa0", " "))
    return ["".join(parts).rstrip() for _, parts in sorted(rows.items())]
