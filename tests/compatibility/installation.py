"""Run an installed version of the `sealyard` command with a workspace and user directories of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

PASSPHRASE = "a passphrase of the frozen workspaces"
TIMEOUT = 120.0
"""Time in seconds for one command."""


class CommandError(Exception):
    """A command failed."""


class Installation:
    """The command at ``command``, with the workspace and the user directories in ``root``."""

    def __init__(self, root: Path, command: Path) -> None:
        self.root = root
        self._command = command

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "XDG_STATE_HOME": str(self.root / "state"),
            "SEALYARD_ANCHORS": str(self.root / "anchors"),
            "LANG": "C.UTF-8",
            "SEALYARD_WORKSPACE": str(self.root / "workspace"),
            "SEALYARD_PASSPHRASE": PASSPHRASE,
        }

    def run(self, *arguments: str) -> Any:
        """Run a command that must succeed with ``--json``, and return its value, or None if it prints nothing."""
        output = self.run_text(*arguments, "--json")
        return json.loads(output) if output.strip() else None

    def run_text(self, *arguments: str) -> str:
        """Run a command that must succeed, and return its output. Raises :class:`CommandError` if it fails."""
        result = subprocess.run(
            [self._command, *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
            env=self.environment,
        )
        if result.returncode:
            raise CommandError(f"`sealyard {shlex.join(arguments)}` exited with {result.returncode}: {result.stderr}")
        return result.stdout
