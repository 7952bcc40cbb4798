"""The worker's own record of what it is about to sign: append-only, and synced before the key is used.

One JSON line per intent: task id, fencing token, SHA-256 (hex) of the signed input, and time. The file is separate from
the engine's store, so that the record of what was signed does not depend on the engine. Workers share the file, so each
batch of lines is appended under a lock. Intents that are pending at the same time form a batch and share one sync. A
worker that finds the file shorter than it left it, or replaced, signs nothing more.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from pathlib import Path

import msgspec

from sealyard.fs.atomic import sync, sync_folder
from sealyard.fs.locks import hold_lock
from sealyard.fs.private import make_private_dir, open_private_append
from sealyard.fs.sole_writer import concurrent_writer_error
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ConflictError, SealyardError, StorageError


class IntentRecord(FrozenStruct, frozen=True, kw_only=True):
    """One line of the log."""

    task: str
    fencing_token: int
    sha256: str
    at: float  # seconds since the epoch


class IntentLog:
    """Records intents. Used on one event loop only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        make_private_dir(path.parent)
        self._pending: list[tuple[bytes, asyncio.Future[None]]] = []
        self._write_lock = asyncio.Lock()
        self._file_state: os.stat_result | None = None
        """The state of the file after this worker's last append; None before the first."""

    async def record(self, task_id: str, fencing_token: int, sha256: str, *, has_intent: bool) -> None:
        """Record an intent durably before the key is used.

        ``has_intent``: whether the engine already has an intent for this task; if so, the file is searched for records
        of the task. Raises :class:`ConflictError` if one of them covers different bytes, :class:`StorageError` if the
        file is so damaged that this cannot be determined, and :class:`ConcurrentWriterError` if records are missing
        that this worker has made.
        """
        if has_intent:
            await asyncio.to_thread(self._reject_conflict, task_id, sha256)
        intent_record = IntentRecord(task=task_id, fencing_token=fencing_token, sha256=sha256, at=time.time())
        line = msgspec.json.encode(intent_record) + b"\n"
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.append((line, future))
        async with self._write_lock:
            if not future.done():
                await self._write_pending()
        await future

    async def _write_pending(self) -> None:
        batch, self._pending = self._pending, []
        try:
            await asyncio.to_thread(self._append, b"".join(line for line, _ in batch))
        except (OSError, SealyardError) as error:
            for _, future in batch:
                future.set_exception(error)
        else:
            for _, future in batch:
                future.set_result(None)

    def _append(self, lines: bytes) -> None:
        descriptor = open_private_append(self._path)
        try:
            with hold_lock(descriptor):
                self._require_earlier_records(descriptor)
                # A full disk or a power failure may have left an incomplete line, for which nothing was signed.
                # Terminate that line, so that the new lines do not become part of it.
                data = _missing_line_feed(descriptor) + lines
                if os.write(descriptor, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                file_state = os.fstat(descriptor)
            sync(descriptor)
            if self._file_state is None:
                sync_folder(self._path.parent)  # the file may be new
            self._file_state = file_state
        finally:
            os.close(descriptor)

    def _require_earlier_records(self, descriptor: int) -> None:
        """Raises :class:`ConcurrentWriterError` if the file lacks records that this worker has made."""
        if self._file_state is None:
            return
        file_state = os.fstat(descriptor)
        if not os.path.samestat(file_state, self._file_state) or file_state.st_size < self._file_state.st_size:
            raise concurrent_writer_error(self._path)

    def _reject_conflict(self, task_id: str, sha256: str) -> None:
        task_marker = f'"task":"{task_id}"'.encode()
        content = self._path.read_bytes() if self._path.exists() else b""
        for line in content.splitlines():
            if task_marker in line and line.endswith(b"}") and _read_digest(line) != sha256:
                raise ConflictError(
                    f"The worker has already signed different data for task {task_id}.",
                    "Submit the request again as a new task.",
                )


def _missing_line_feed(descriptor: int) -> bytes:
    """Return the line feed that is missing after an incomplete last line, or nothing."""
    size = os.fstat(descriptor).st_size
    return b"" if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n" else b"\n"


def _read_digest(line: bytes) -> str:
    try:
        return msgspec.json.decode(line, type=IntentRecord).sha256
    except msgspec.MsgspecError:
        raise StorageError(
            "The worker's log of signatures is damaged.", "Restore worker/intents.jsonl from a backup."
        ) from None
