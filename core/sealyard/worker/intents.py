"""The worker's own record of what it was about to sign: append-only, synced before the key is used.

One JSON line each: task, fence, SHA-256 (hex) of the signed input, time. It is kept apart from the engine's
store, so that a count of what was signed does not rest on the engine's word.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import msgspec

from sealyard.model.errors import ConflictError
from sealyard.model.value import Value


class IntentLine(Value, frozen=True, kw_only=True):
    task: str
    fence: int
    sha256: str
    at: float  # seconds since the epoch


class IntentLog:
    """The file is locked while it is read and appended to: several workers share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)

    def record(self, task: str, fence: int, sha256: str, *, again: bool) -> None:
        """Durable when it returns. Raises :class:`ConflictError` where the task signed other bytes before.

        ``again``: the engine says that an intent was recorded before, so the file is searched for it.
        """
        with self._path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if again:
                file.seek(0)
                _refuse_other(file.read(), task, sha256)
            entry = IntentLine(task=task, fence=fence, sha256=sha256, at=time.time())
            file.write(msgspec.json.encode(entry) + b"\n")
            file.flush()
            os.fdatasync(file.fileno())


def _refuse_other(text: bytes, task: str, sha256: str) -> None:
    marker = f'"task":"{task}"'.encode()
    for line in text.splitlines():
        if marker not in line:
            continue
        if msgspec.json.decode(line, type=IntentLine).sha256 != sha256:
            raise ConflictError(
                f"The worker has signed something else for task {task} before.", "Ask again with a new task."
            )
