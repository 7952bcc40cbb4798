"""Pictures of screens as SVG, held against those that were looked at; made anew with SEALYARD_REMAKE_PICTURES=1."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from sealyard_tui.app import SealyardApp

FOLDER = Path(__file__).parent / "pictures"
REMAKE = "SEALYARD_REMAKE_PICTURES"


async def same_picture(pilot: Pilot[None], name: str, place: Path) -> None:
    """Fails where the screen looks other than its picture; what it looks like now is left in ``place``."""
    for each in (*pilot.app.screen.query(Input), *pilot.app.screen.query(TextArea)):
        each.cursor_blink = False
    await pilot.pause()
    svg = _picture(pilot.app)
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


def _picture(app: SealyardApp | object) -> str:
    """Without what changes from run to run and without the font that is fetched from a network."""
    svg = app.export_screenshot(title="Sealyard", simplify=True)  # type: ignore[attr-defined]
    svg = re.sub(r"terminal-\d+", "terminal", svg)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def _words(svg: str) -> list[str]:
    """What can be read in a picture, a line for each row."""
    rows: dict[float, list[str]] = {}
    for y, text in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>(.*?)</text>', svg):
        rows.setdefault(float(y), []).append(text.replace("&#160;", " "))
    return ["".join(parts).rstrip() for _, parts in sorted(rows.items())]
