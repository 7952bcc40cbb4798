"""The inputs and results that a move of a workspace copies, and their copy."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Sequence

import msgspec

from sealyard.concurrency.threads import CheckCancelled
from sealyard.engine.state.open_artifacts import require_s3_packages
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import DEVICES, TASKS
from sealyard.engine.tasks.recovery import can_result_expire
from sealyard.engine.tasks.released_packages import find_last_release
from sealyard.model.errors import IntegrityError
from sealyard.model.formatting import format_count
from sealyard.model.hints import Hint, HintCode
from sealyard.model.moves import (
    FOLDER,
    ArtifactDefect,
    ArtifactKind,
    ArtifactProblem,
    ArtifactsPlan,
)
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, Task, TaskStatus
from sealyard.model.workspace import WorkspacePaths
from sealyard.storage.artifact_copy import (
    MAX_PARALLEL,
    Artifact,
    ArtifactPlace,
    CopyProgress,
    FolderPlace,
    copy_artifact,
    run_parallel,
)
from sealyard.storage.artifacts import OUTPUT_NAMES, FileArtifacts, ResultId
from sealyard.storage.incoming import IncomingFiles
from sealyard.storage.upload_dir import UploadDir

MAX_SHOWN_PROBLEMS = 5
MAX_SHOWN_TASKS = 3

OnProgress = Callable[[int, int], object]
"""Called in any thread with the number of bytes that are copied, and that of all bytes."""


class ArtifactInventory:
    """Collects what a workspace still needs: inputs and results of tasks, and complete uploads."""

    def __init__(self) -> None:
        self._sizes: dict[tuple[str, ResultId | None], int] = {}
        self._task_ids: dict[tuple[str, ResultId | None], list[str]] = {}

    def add_documents(self, repository: Repository) -> None:
        """Add the inputs of unfinished tasks, retained results, and the metadata that approvers compare with."""
        for _, document in repository.store.all(TASKS.name):
            is_final = TaskStatus(document["status"]).is_final
            if is_final and not can_result_expire(document):
                continue
            task = msgspec.convert(document, Task)
            if is_final:
                self._add_result(task)
            else:
                for file in (*task.inputs, *task.metadata):
                    self._add_input(file, task.id)
        for device in repository.list_all(DEVICES):
            package = find_last_release(repository, device.id)
            for file in package.metadata if package is not None else ():
                self._add_input(file, None)

    def add_uploads(self, upload_dir: UploadDir) -> None:
        """Add the contents of uploads that no task has claimed. Those in progress are in the folder, and stay there."""
        for record in upload_dir.load():
            if record.sha256 is not None and not record.claimed:
                self._add((record.sha256, None), record.offset, None)

    def artifacts(self) -> tuple[Artifact, ...]:
        """Return all, ordered."""
        return tuple(
            Artifact(key[0], self._sizes[key], key[1], tuple(self._task_ids[key]))
            for key in sorted(self._sizes, key=lambda key: (key[1] is not None, key))
        )

    def _add_result(self, task: Task) -> None:
        result = task.result
        assert result is not None
        assert result.sha256 is not None  # every artifact has digest and size
        assert result.size is not None
        self._add((result.sha256, ResultId.of(task)), result.size, task.id)

    def _add_input(self, file: InputFile, task_id: str | None) -> None:
        if file.inline is None:
            self._add((file.sha256, None), file.size, task_id)

    def _add(self, key: tuple[str, ResultId | None], size: int, task_id: str | None) -> None:
        self._sizes[key] = size
        task_ids = self._task_ids.setdefault(key, [])
        if task_id is not None and task_id not in task_ids:
            task_ids.append(task_id)


class ArtifactsMove:
    """Copies the artifacts of a workspace from one place to another. All methods block.

    ``source`` and ``target`` are :data:`~sealyard.model.moves.FOLDER` or URLs of S3. All methods raise
    :class:`StorageError` if a place cannot be used.
    """

    def __init__(self, paths: WorkspacePaths, workspace_id: str, source: str, target: str) -> None:
        self._paths = paths
        self._names = (source, target)
        self._source = _open_place(paths, workspace_id, source)
        self._target = _open_place(paths, workspace_id, target)

    def check(self, artifacts: Sequence[Artifact], *, has_unfinished_copy: bool) -> None:
        """Check that the target can store the artifacts, and the disk what is copied to it.

        Raises :class:`ConflictError` if the target is in use.
        """
        self._target.check_target(has_unfinished_copy=has_unfinished_copy)
        source, target = self._names
        if target == FOLDER:
            missing = (item for item in artifacts if self._target.find_defect(item, _ignore_count, read=False))
            needed_bytes = sum(artifact.size for artifact in missing)
        elif source != FOLDER:
            needed_bytes = sum(heapq.nlargest(MAX_PARALLEL, (artifact.size for artifact in artifacts)))
        else:
            return
        FileArtifacts(self._paths.artifacts).check_free_space(needed_bytes)

    def inspect(self, artifacts: Sequence[Artifact], check_cancelled: CheckCancelled, *, read: bool) -> ArtifactsPlan:
        """Check the artifacts at the source, and return what can be copied.

        ``read``: whether contents are read if their digests are not known otherwise.
        """
        return self._visit(artifacts, lambda artifact: self._source.find_defect(artifact, check_cancelled, read=read))

    def copy(
        self, artifacts: Sequence[Artifact], attempt: str, on_progress: OnProgress, check_cancelled: CheckCancelled
    ) -> ArtifactsPlan:
        """Copy the artifacts, except those that the target has already, and return what was copied."""
        self._target.begin(attempt, artifacts)
        incoming = IncomingFiles(self._paths.artifacts / "incoming")
        progress = CopyProgress(sum(artifact.size for artifact in artifacts), on_progress)
        return self._visit(
            artifacts,
            lambda artifact: copy_artifact(artifact, self._source, self._target, incoming, check_cancelled, progress),
        )

    def require_current(self, attempt: str) -> None:
        """Raise :class:`ConflictError` if another move has written to the target since :meth:`copy`."""
        self._target.require_current(attempt)

    def activate(self) -> None:
        """Complete the copy. Idempotent."""
        self._target.activate()

    def choose_retired_name(self) -> str:
        """Return a name for :meth:`retire` that is not in use."""
        return FolderPlace(self._paths.artifacts).choose_retired_name()

    def retire(self, name: str) -> None:
        """Record that the source is not used any more. Idempotent. ``name``: of the folder for its files."""
        self._source.retire(name)

    def _visit(
        self, artifacts: Sequence[Artifact], find_defect: Callable[[Artifact], ArtifactDefect | None]
    ) -> ArtifactsPlan:
        """Call ``find_defect`` with each artifact, in several threads, and count those that have none."""
        defects: dict[Artifact, ArtifactDefect] = {}
        lock = threading.Lock()

        def visit(artifact: Artifact) -> None:
            defect = find_defect(artifact)
            if defect is not None:
                with lock:
                    defects[artifact] = defect

        run_parallel(artifacts, visit)
        intact = [artifact for artifact in artifacts if artifact not in defects]
        results = sum(artifact.result is not None for artifact in intact)
        source, target = self._names
        return ArtifactsPlan(
            source=source,
            target=target,
            inputs=len(intact) - results,
            results=results,
            size=sum(artifact.size for artifact in intact),
            problems=tuple(
                _describe(artifact, defects[artifact])
                for artifact in artifacts
                if artifact in defects and artifact.task_ids
            ),
        )


def collect_artifacts(paths: WorkspacePaths, repository: Repository) -> tuple[Artifact, ...]:
    """Return the inputs and results that the workspace still needs."""
    inventory = ArtifactInventory()
    inventory.add_documents(repository)
    inventory.add_uploads(UploadDir(paths.artifacts / "uploads"))
    return inventory.artifacts()


def unpublish_unfinished(paths: WorkspacePaths, repository: Repository) -> None:
    """Move files of results that are not recorded back to the work folders, which stay in the folder.

    The next attempts of their tasks expect them there.
    """
    artifacts = FileArtifacts(paths.artifacts)
    for task in repository.tasks({"status": TaskStatus.RUNNING}):
        if task.kind in OUTPUT_NAMES:
            artifacts.unpublish_result(task.id, OUTPUT_NAMES[task.kind])


def require_complete(plan: ArtifactsPlan) -> None:
    """Raise :class:`IntegrityError` if an input or result that a task needs is missing or damaged."""
    if not plan.problems:
        return
    texts = ", ".join(format_problem(problem) for problem in plan.problems[:MAX_SHOWN_PROBLEMS])
    more = ", …" if len(plan.problems) > MAX_SHOWN_PROBLEMS else ""
    count = format_count(len(plan.problems), "input or result", "inputs or results")
    raise IntegrityError(f"{count} cannot be moved: {texts}{more}.", Hint.of(HintCode.SKIP_DAMAGED))


def format_problem(problem: ArtifactProblem) -> str:
    """Return a description with the ids of the tasks."""
    shown_ids = ", ".join(problem.task_ids[:MAX_SHOWN_TASKS])
    more = ", …" if len(problem.task_ids) > MAX_SHOWN_TASKS else ""
    noun = "task" if len(problem.task_ids) == 1 else "tasks"
    digest = f" {problem.sha256[:12]}…" if problem.kind is ArtifactKind.INPUT else ""
    return escape_text(f"{problem.kind}{digest} of {noun} {shown_ids}{more} is {problem.defect}", 500)


def _describe(artifact: Artifact, defect: ArtifactDefect) -> ArtifactProblem:
    return ArtifactProblem(
        kind=ArtifactKind.INPUT if artifact.result is None else ArtifactKind.RESULT,
        sha256=artifact.sha256,
        task_ids=artifact.task_ids,
        defect=defect,
    )


def _open_place(paths: WorkspacePaths, workspace_id: str, name: str) -> ArtifactPlace:
    if name == FOLDER:
        return FolderPlace(paths.artifacts)
    with require_s3_packages():
        from sealyard.storage.s3.copying import BucketPlace
        from sealyard.storage.s3.location import S3Location

    return BucketPlace(S3Location.parse(name), workspace_id)


def _ignore_count(_: int) -> None:
    """Do nothing: the call is short."""
