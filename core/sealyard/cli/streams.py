"""Handling of standard streams that are closed or can no longer be written to."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


def open_missing_streams() -> None:
    """Open the null device for each standard stream that was closed when the process started.

    Otherwise, the stream would be None, and the next file that is opened (such as a file of the workspace) would take
    its file descriptor, so that messages meant for the stream could end up in that file.
    """
    for name, mode in _MODES.items():  # in descriptor order, as open() uses the lowest free descriptor
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: PTH123, SIM115 - stays open until the process exits
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def redirect_to_null(stream: TextIO) -> None:
    """Redirect an unwritable stream to the null device, so that flushing it at exit does not cause an error."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
