"""The worker's own record of what it was about to sign: append-only, synced before the key is used.

One JSON line each: task, fence, SHA-256 (hex) of the signed input, time. It is kept apart from the engine's
store, so that a count of what was signed does not rest on the engine's word. Workers share the file: a line is
one appending write. Intents that wait at the same time share one sync.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from pathlib import Path

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ConflictError, StorageError


class IntentRecord(FrozenStruct, frozen=True, kw_only=True):
    task: str
    fencing_token: int
    sha256: str
    at: float  # seconds since the epoch


class IntentLog:
    """Lives on one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writing = asyncio.Lock()

    async def record(self, task: str, fence: int, sha256: str, *, again: bool) -> None:
        """Durable when it returns. Raises :class:`ConflictError` where the task signed other bytes before.

        Raises :class:`StorageError` where the file does not say whether it did.
        ``again``: the engine says that an intent was recorded before, so the file is searched for it.
        """
        if again:
            await asyncio.to_thread(self._reject_conflict, task, sha256)
        entry = IntentRecord(task=task, fencing_token=fence, sha256=sha256, at=time.time())
        line = msgspec.json.encode(entry) + b"\n"
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((line, written))
        async with self._writing:
            if not written.done():
                await self._write_waiting()
        await written

    async def _write_waiting(self) -> None:
        group, self._waiting = self._waiting, []
        try:
            await asyncio.to_thread(self._append, b"".join(line for line, _ in group))
        except OSError as error:
            for _, written in group:
                written.set_exception(error)
        else:
            for _, written in group:
                written.set_result(None)

    def _append(self, lines: bytes) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            # Where a full disk or a power cut left half a line, nothing was signed for it; it stays alone.
            whole = _is_truncated(descriptor) + lines
            if os.write(descriptor, whole) < len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _reject_conflict(self, task: str, sha256: str) -> None:
        marker = f'"task":"{task}"'.encode()
        text = self._path.read_bytes() if self._path.exists() else b""
        for line in text.splitlines():
            if marker in line and line.endswith(b"}") and _digest_in(line) != sha256:
                raise ConflictError(
                    f"The worker has signed something else for task {task} before.", "Ask again with a new task."
                )


def _is_truncated(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    return b"" if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n" else b"\n"


def _digest_in(line: bytes) -> str:
    try:
        return msgspec.json.decode(line, type=IntentRecord).sha256
    except msgspec.MsgspecError:
        raise StorageError(
            "The worker's log of what it signed is damaged.", "Put worker/intents.jsonl back from a backup."
        ) from None
