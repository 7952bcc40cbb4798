"""The policies in the documentation of the key services."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from sealyard.keys import backends


def read_policy(service: str, name: str) -> str:
    """Return the block after the marker ``<!-- policy: NAME -->`` in the document of a key service."""
    return read_block(Path(backends.__file__).parent / service / "README.md", name)


def read_block(path: Path, name: str) -> str:
    """Return the block after the marker ``<!-- policy: NAME -->`` in a document."""
    document = path.read_text()
    pattern = rf"<!-- policy: {name} -->\n *```\w+\n(.*?)\n *```"
    match = re.search(pattern, document, re.DOTALL)
    assert match is not None, f"{path} has no policy {name}"
    return textwrap.dedent(match[1])
