"""Where the `sealyard` command finds the application (entry point group ``sealyard.front``)."""

from __future__ import annotations

import sys


def main() -> int:
    sys.stderr.write("The terminal application is not there yet; `sealyard --help` shows what works without it.\n")
    return 1
