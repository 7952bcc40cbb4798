"""Opening folders in the user's file manager."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from sealyard.client.config.child_environment import remove_secrets
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

TIMEOUT = 5.0
"""Seconds to wait for the exit code of the command that opens a folder."""


async def open_in_file_manager(folder: Path, environ: Mapping[str, str] = os.environ) -> None:
    """Open ``folder`` in the user's file manager.

    Raises :class:`UsageError` in an SSH session, or if no file manager is available or it fails. The hint contains the
    path.
    """
    opener = _open_command(environ)
    hint = f"Open the folder manually: {escape_text(str(folder))}"
    if not opener:
        raise UsageError("No file manager available.", hint)
    try:
        process = await asyncio.create_subprocess_exec(
            opener,
            str(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=remove_secrets(os.environ),
            start_new_session=True,
        )
        # A command that is still running counts as successful: some run until the window is closed.
        code = await asyncio.wait_for(process.wait(), TIMEOUT)
    except TimeoutError:
        return
    except OSError as error:
        raise UsageError(f"{opener} cannot be started ({error.strerror}).", hint) from error
    if code:
        raise UsageError(f"{opener} could not open the folder (exit code {code}).", hint)


def _open_command(environ: Mapping[str, str]) -> str:
    """Return the command that opens folders; empty if there is none, or if its window would not be visible."""
    if environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"):
        return ""
    if sys.platform == "darwin":
        return "open"
    display = environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")
    return "xdg-open" if display and shutil.which("xdg-open", path=environ.get("PATH")) else ""
