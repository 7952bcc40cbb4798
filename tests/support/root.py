"""Options for tests that run as root, as in CI."""

from __future__ import annotations

import os

ALLOW_ROOT: tuple[str, ...] = ("--allow-root",) if os.geteuid() == 0 else ()
"""Makes `sealyard serve` run as root."""
