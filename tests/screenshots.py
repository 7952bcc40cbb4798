"""Remakes the pictures of the README from the real program: `python -m tests.screenshots`."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

FOLDER = Path(__file__).parents[1] / "screenshots"
WIDTH = 150


def main() -> int:
    output = subprocess.run(
        [Path(sys.executable).parent / "sealyard", "demo", "--headless"], check=True, capture_output=True, text=True
    ).stdout
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ sealyard demo --headless", style="bold"))
    for line in output.splitlines():
        console.print(_coloured(line))
    console.save_svg(str(FOLDER / "demo-headless.svg"), title="Sealyard")
    return 0


def _coloured(line: str) -> Text:
    """The step in bold; a refusal stands out."""
    text = Text(line)
    step = line.partition(" ")[0]
    text.stylize("bold red" if step == "refused" else "bold green", 0, len(step))
    return text


if __name__ == "__main__":
    sys.exit(main())
