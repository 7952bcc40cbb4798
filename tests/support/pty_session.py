"""Run the command in a pseudo-terminal, answering its questions."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.support.cli_runner import command
from tests.support.limits import TIMEOUT
from tests.support.processes import killed_at_exit


class PtyResult(NamedTuple):
    code: int
    screen: str


def run_interactive(*arguments: object, answers: dict[str, Callable[[str], str]]) -> PtyResult:
    """Run the command in a terminal. ``answers`` maps each question to a function that returns the answer."""
    controller_fd, terminal_fd = pty.openpty()
    process = subprocess.Popen(
        command(*arguments), stdin=terminal_fd, stdout=terminal_fd, stderr=terminal_fd, start_new_session=True
    )
    os.close(terminal_fd)
    output, deadline = b"", time.monotonic() + TIMEOUT
    pending = dict(answers)
    with killed_at_exit(process):
        while time.monotonic() < deadline:
            if not select.select([controller_fd], [], [], 0.1)[0]:
                continue
            try:
                output += os.read(controller_fd, 65536)
            except OSError:  # the process has closed the terminal
                break
            for question in [each for each in pending if each.encode() in output]:
                os.write(controller_fd, pending.pop(question)(output.decode("utf-8", "ignore")).encode() + b"\n")
        process.wait(TIMEOUT)
    os.close(controller_fd)
    screen = output.decode()
    assert not pending, f"questions that did not appear: {set(pending)}\n{screen}"
    return PtyResult(process.returncode, screen)
