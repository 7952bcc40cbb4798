"""Files handed in: kept by digest, given back when no unfinished task needs them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from sealyard.model.clock import Clock
from sealyard.model.errors import InvalidInputError, NotFoundError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, Task
from sealyard.storage.artifacts import ArtifactStore, StoredInput

LONGEST_FILE_NAME = 255
"""Characters; no usual file system takes more."""

UNCLAIMED_TTL = timedelta(hours=24)
"""How long an upload waits for a task."""


class InputStore:
    """What is stored, what a task holds, and what was uploaded and not yet claimed.

    Lives on the engine's loop; :meth:`keep` and :meth:`let_go` may be called from any thread.
    """

    def __init__(self, artifacts: ArtifactStore, clock: Clock) -> None:
        self._artifacts = artifacts
        self._clock = clock
        self._lock = threading.Lock()
        """Over the two below, and over dropping what neither of them names."""
        self._held: dict[str, set[str]] = {}
        self._unclaimed: dict[str, list[datetime]] = {}
        """When each upload came that no task has taken; the same content may be handed in by several at once."""

    async def ingest(
        self, path: Path, expected_sha256: str | None, progress: Callable[[int], None] | None
    ) -> InputFile:
        """Hashes and stores a file. Raises :class:`InvalidInputError`, :class:`StorageError`."""
        stored = await self._ingested(lambda: self._artifacts.ingest(path, progress, expected_sha256))
        return InputFile(name=to_utf8_name(path.name), size=stored.size, sha256=stored.sha256)

    async def ingest_bytes(self, name: str, data: bytes) -> InputFile:
        stored = await self._ingested(lambda: self._artifacts.ingest_bytes(data))
        return InputFile(name=to_utf8_name(name), size=stored.size, sha256=stored.sha256)

    def require(self, files: Iterable[InputFile]) -> None:
        """Raises :class:`InvalidInputError` where a file is not, or no longer, stored or of another size.

        One that brings bytes of its own is refused: a worker would take those, an approver sees what is stored.
        """
        for file in files:
            if file.inline is not None:
                raise InvalidInputError(
                    f"{escape_text(file.name, 100)} does not name a stored file.", "Hand the file in first."
                )
            try:
                size = self._artifacts.input_path(file.sha256).stat().st_size
            except NotFoundError:
                size = -1
            if size != file.size:
                raise InvalidInputError(
                    f"{escape_text(file.name, 100)} is not stored any more.", "Hand the file in again."
                )

    def acquire(self, task: Task) -> tuple[str, ...]:
        """The task's inputs stay until :meth:`release`. The digests of those that waited for a task until now."""
        with self._lock:
            for digest in _stored(task):
                self._held.setdefault(digest, set()).add(task.id)
            return tuple(each.sha256 for each in (*task.inputs, *task.metadata) if self._claim(each.sha256))

    def release(self, task: Task) -> None:
        """The task needs its inputs no more; those that nobody else needs go."""
        with self._lock:
            for digest in _stored(task):
                self._held.get(digest, set()).discard(task.id)
            self._drop(_stored(task))

    def pin(self, holder: str, digest: str) -> None:
        """Content with this digest stays, stored already or not yet, until the holder lets it go."""
        with self._lock:
            self._held.setdefault(digest, set()).add(holder)

    def unpin(self, holder: str, digest: str) -> None:
        """The holder needs it no more; it goes where nobody else needs it."""
        with self._lock:
            self._held.get(digest, set()).discard(holder)
            self._drop({digest})

    def unacquire(self, task: Task, waited: Iterable[str]) -> None:
        """The task was not made after all: what :meth:`hold` found waiting waits for another one."""
        with self._lock:
            for digest in waited:
                self._unclaimed.setdefault(digest, []).append(self._clock.now())
        self.release(task)

    def discard(self, files: Iterable[InputFile]) -> None:
        with self._lock:
            for file in files:
                self._claim(file.sha256)
                self._drop({file.sha256})

    def sweep(self) -> None:
        """Drops uploads that no task claimed in time."""
        oldest = self._clock.now() - UNCLAIMED_TTL
        with self._lock:
            late = [digest for digest, times in self._unclaimed.items() for since in times if since < oldest]
            for digest in late:
                self._claim(digest)
            self._drop(late)

    def remove_unreferenced(self, stored: Iterable[str]) -> None:
        """At start: what is stored and held by no task and no upload was handed in to an engine that is gone."""
        with self._lock:
            self._drop(set(stored))

    async def _ingested(self, ingest: Callable[[], StoredInput]) -> StoredInput:
        """Stored and waiting for a task. Done again where the same content was dropped at that very moment."""
        while True:
            stored = await asyncio.to_thread(ingest)
            with self._lock:
                self._unclaimed.setdefault(stored.sha256, []).append(self._clock.now())
                if self._is_stored(stored.sha256):
                    return stored
                self._claim(stored.sha256)

    def _is_stored(self, digest: str) -> bool:
        try:
            self._artifacts.input_path(digest)
        except NotFoundError:
            return False
        return True

    def _claim(self, digest: str) -> bool:
        """One upload of this content waits no more: the oldest. Whether there was one."""
        times = self._unclaimed.pop(digest, [])
        if times[1:]:
            self._unclaimed[digest] = times[1:]
        return bool(times)

    def _drop(self, digests: Iterable[str]) -> None:
        for digest in digests:
            if not self._held.get(digest) and digest not in self._unclaimed:
                self._held.pop(digest, None)
                self._artifacts.delete_input(digest)


def _stored(task: Task) -> set[str]:
    return {each.sha256 for each in (*task.inputs, *task.metadata) if each.inline is None}


def check_name_length(name: str) -> None:
    """Raises :class:`InvalidInputError`."""
    if len(name) > LONGEST_FILE_NAME:
        raise InvalidInputError(f"A file's name has at most {LONGEST_FILE_NAME} characters.", "Choose a shorter one.")


def to_utf8_name(name: str) -> str:
    """A name that is no valid Unicode gets its odd bytes as escapes: it must fit into JSON."""
    return name.encode("utf-8", "backslashreplace").decode()
