"""Prints a command of the README: the shell block right after the marker `<!-- command: NAME -->`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def command(name: str) -> str:
    """The text of the block; ends the program with a message where there is none."""
    found = re.search(
        rf"<!-- command: {re.escape(name)} -->\s*```(?:sh|console)\n(.*?)\n```", README.read_text(), re.DOTALL
    )
    if found is None:
        sys.exit(f"README.md has no command named {name}")
    return found[1]


if __name__ == "__main__":
    print(command(sys.argv[1]))  # noqa: T201
