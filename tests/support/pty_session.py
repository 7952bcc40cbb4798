"""A person at a terminal who reads the screen, and types what it takes."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Callable
from typing import NamedTuple

from tests.support.cli_runner import LIMIT, command
from tests.support.processes import killed_at_exit


class PtyResult(NamedTuple):
    code: int
    screen: str


def run_interactive(*arguments: object, answers: dict[str, Callable[[str], str]]) -> PtyResult:
    """Input, output and errors are a terminal. ``answers``: by question, what is typed once it is on the screen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    shown, limit = b"", time.monotonic() + LIMIT
    waiting = dict(answers)
    with killed_at_exit(process):
        while time.monotonic() < limit:
            if not select.select([ours], [], [], 0.1)[0]:
                continue
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the last one at the terminal has left
                break
            for question in [each for each in waiting if each.encode() in shown]:
                os.write(ours, waiting.pop(question)(shown.decode("utf-8", "ignore")).encode() + b"\n")
        process.wait(LIMIT)
    os.close(ours)
    screen = shown.decode()
    assert not waiting, f"never asked: {set(waiting)}\n{screen}"
    return PtyResult(process.returncode, screen)
