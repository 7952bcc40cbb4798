"""Standard streams that are missing, or that can no longer be written."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_MODES = {"stdin": "r", "stdout": "w", "stderr": "w"}


def open_missing_streams() -> None:
    """Open the null device for each standard stream that was closed when the process started.

    Otherwise, the stream is None, and the next file that is opened (such as a file of the workspace) takes its file
    descriptor, so that other programs would write their messages to that file.
    """
    for name, mode in _MODES.items():  # in the order of the descriptors: the lowest free one is used
        if getattr(sys, name) is None:
            stream = open(os.devnull, mode)  # noqa: PTH123, SIM115 - stays open until the process exits
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def redirect_to_null(stream: TextIO) -> None:
    """Redirect a stream that cannot be written, so that the interpreter does not report its buffered data at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
