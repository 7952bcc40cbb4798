"""Copy the inputs and results of a workspace between its folder and an object store."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from sealyard.concurrency.threads import CheckCancelled
from sealyard.fs import atomic
from sealyard.fs.hashing import file_sha256
from sealyard.fs.regular_file import open_regular
from sealyard.model.errors import ConflictError, IntegrityError, NotFoundError
from sealyard.model.moves import ArtifactDefect
from sealyard.model.safe_text import escape_text
from sealyard.storage.artifacts import FileArtifacts, ResultId
from sealyard.storage.folder_copy import retire_files
from sealyard.storage.incoming import IncomingFiles

MAX_PARALLEL = 4
"""Number of artifacts that are copied at the same time."""

_NOTE = """\
Inputs and results of this workspace. They were moved to an object store, which contains everything that the workspace
still needed of them. Sealyard does not use these files any more. Remove this folder when you no longer want to keep it.
"""

T = TypeVar("T")


class Artifact(NamedTuple):
    """An input, or the ``result`` of a task. ``sha256`` is in hex.

    ``task_ids``: the tasks that need it. Without one, it is not copied if it is missing or damaged.
    """

    sha256: str
    size: int
    result: ResultId | None
    task_ids: tuple[str, ...]


class DefectError(Exception):
    """An artifact is missing or damaged. Never leaves this package."""

    def __init__(self, defect: ArtifactDefect) -> None:
        super().__init__(defect)
        self.defect = defect


class ArtifactPlace(Protocol):
    """A place of inputs and results that no engine uses during a move. May be used from any thread; all methods block.

    All methods raise :class:`StorageError` if the place refuses an operation.
    """

    def find_defect(
        self, artifact: Artifact, check_cancelled: CheckCancelled, *, read: bool = True
    ) -> ArtifactDefect | None:
        """Check whether the artifact is stored with its size and digest; return None if it is.

        ``read``: whether the content is read if its digest is not known otherwise.
        """
        ...

    def open_verified(
        self, artifact: Artifact, incoming: IncomingFiles, check_cancelled: CheckCancelled
    ) -> AbstractContextManager[Path]:
        """Open a block with a local file that contains the artifact, after verifying its digest.

        Raises :class:`DefectError` if it is missing or damaged.
        """
        ...

    def check_target(self, *, has_unfinished_copy: bool) -> None:
        """Check that artifacts can be stored here, and that no other workspace uses the place.

        ``has_unfinished_copy``: whether an earlier run of this move may have stored files here. Raises
        :class:`ConflictError` if there are others.
        """
        ...

    def begin(self, attempt: str, artifacts: Collection[Artifact]) -> None:
        """Prepare the place for a copy of ``artifacts`` by the run ``attempt`` of a move."""
        ...

    def store(self, artifact: Artifact, path: Path, check_cancelled: CheckCancelled) -> None:
        """Store a verified file durably. The place may move the file, if it is a temporary one of its own."""
        ...

    def require_current(self, attempt: str) -> None:
        """Raise :class:`ConflictError` if another move has begun since :meth:`begin`."""
        ...

    def activate(self) -> None:
        """Complete the copy, after the workspace has been switched to it. Idempotent."""
        ...

    def retire(self, name: str) -> None:
        """Record that the workspace no longer uses this place; keep the content. Idempotent.

        ``name``: a name for what is kept.
        """
        ...


class FolderPlace:
    """:class:`ArtifactPlace` in the folder of the workspace."""

    def __init__(self, folder: Path) -> None:
        self._files = FileArtifacts(folder)
        self._inputs = folder / "inputs"
        self._results = folder / "results"
        self._retired = folder / "moved"

    def find_defect(
        self, artifact: Artifact, check_cancelled: CheckCancelled, *, read: bool = True
    ) -> ArtifactDefect | None:
        try:
            with os.fdopen(open_regular(self._path(artifact)), "rb") as file:
                if os.fstat(file.fileno()).st_size != artifact.size:
                    return ArtifactDefect.DAMAGED
                if read and file_sha256(file, check_cancelled) != artifact.sha256:
                    return ArtifactDefect.DAMAGED
        except (FileNotFoundError, NotFoundError):
            return ArtifactDefect.MISSING
        except IntegrityError:
            return ArtifactDefect.DAMAGED
        except OSError as error:
            if error.errno == errno.EIO:
                return ArtifactDefect.DAMAGED
            raise atomic.storage_error(error, "reading a file to move") from error
        return None

    @contextmanager
    def open_verified(
        self,
        artifact: Artifact,
        incoming: IncomingFiles,  # noqa: ARG002 - the file is already on this machine
        check_cancelled: CheckCancelled,
    ) -> Iterator[Path]:
        defect = self.find_defect(artifact, check_cancelled)
        if defect is not None:
            raise DefectError(defect)
        yield self._path(artifact)

    def check_target(self, *, has_unfinished_copy: bool) -> None:
        # Files in the folder of inputs are copies for workers, which are verified or replaced.
        if not has_unfinished_copy and any(self._results.iterdir()):
            raise ConflictError(
                f"{escape_text(str(self._results))} contains files, although the results are in an object store.",
                "Find out what they are, and move them away.",
            )

    def begin(self, attempt: str, artifacts: Collection[Artifact]) -> None:  # noqa: ARG002 - the folder is locked
        """Also removes results of an earlier run that have expired since."""
        names = {artifact.result.task_id for artifact in artifacts if artifact.result is not None}
        for path in self._results.iterdir():
            if path.name not in names:
                atomic.remove_quietly(path)

    def store(self, artifact: Artifact, path: Path, check_cancelled: CheckCancelled) -> None:
        if artifact.result is None:
            self._files.move_in(path, artifact.sha256)
        else:
            self._files.publish_result(artifact.result, path, artifact.sha256, check_cancelled)

    def require_current(self, attempt: str) -> None:
        """Do nothing: the folder is locked."""

    def activate(self) -> None:
        """Do nothing: the files have their final names."""

    def retire(self, name: str) -> None:
        retire_files((self._inputs, self._results), self._retired / name, _NOTE)

    def choose_retired_name(self) -> str:
        """Return a name for :meth:`retire` that is not in use."""
        number = 1
        while (self._retired / f"artifacts-{number}").exists():
            number += 1
        return f"artifacts-{number}"

    def _path(self, artifact: Artifact) -> Path:
        if artifact.result is None:
            return self._files.input_path(artifact.sha256)
        return self._files.result_path(artifact.result.task_id)


class CopyProgress:
    """Counts the bytes of copied artifacts. ``show`` is called in any thread with the bytes so far, and in total."""

    def __init__(self, total: int, show: Callable[[int, int], object]) -> None:
        self._total = total
        self._show = show
        self._done = 0
        self._lock = threading.Lock()

    @contextmanager
    def count(self, artifact: Artifact) -> Iterator[Callable[[int], None]]:
        """Open a block with a function that counts bytes of the artifact. All are counted at its end."""
        remaining = artifact.size

        def add(count: int) -> None:
            nonlocal remaining
            count = min(count, remaining)
            remaining -= count
            with self._lock:
                self._done += count
                self._show(self._done, self._total)

        yield add
        add(remaining)


def copy_artifact(
    artifact: Artifact,
    source: ArtifactPlace,
    target: ArtifactPlace,
    incoming: IncomingFiles,
    check_cancelled: CheckCancelled,
    progress: CopyProgress,
) -> ArtifactDefect | None:
    """Copy an artifact, unless the target has it already. Return why it cannot be copied, None if it was.

    ``incoming``: for a temporary file. Raises the errors of both places.
    """

    def check(count: int) -> None:
        check_cancelled(count)
        add(count)

    with progress.count(artifact) as add:
        if target.find_defect(artifact, check_cancelled) is None:
            return None
        try:
            with source.open_verified(artifact, incoming, check) as path:
                target.store(artifact, path, check)
        except DefectError as error:
            return error.defect
    return None


def run_parallel(items: Iterable[T], work: Callable[[T], object]) -> None:
    """Call ``work`` with each item, in :data:`MAX_PARALLEL` threads. After an error, begins no other item."""
    iterator, lock, is_stopped = iter(items), threading.Lock(), threading.Event()

    def run() -> None:
        while not is_stopped.is_set():
            with lock:
                item = next(iterator, None)
            if item is None:
                return
            try:
                work(item)
            except BaseException:
                is_stopped.set()
                raise

    with ThreadPoolExecutor(MAX_PARALLEL, "artifacts") as executor:
        futures = [executor.submit(run) for _ in range(MAX_PARALLEL)]
    for future in futures:
        future.result()
