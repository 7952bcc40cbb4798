"""The artifact store in an S3 bucket: inputs by digest, results by task and fencing token.

The bucket contains ``<workspace>/inputs/ab/SHA256`` and ``<workspace>/results/TASK/FENCING_TOKEN``. The folder of the
workspace contains temporary copies: of inputs that are being stored, of inputs of running tasks, which workers read,
and the work folders.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from sealyard.concurrency.threads import CheckCancelled
from sealyard.crypto.pipeline import Progress, no_progress
from sealyard.fs import atomic
from sealyard.fs.source_file import SourceFile
from sealyard.model.errors import NotFoundError
from sealyard.model.grants import InputGrant, ResultContent, ResultGrant
from sealyard.model.tasks import InputFile
from sealyard.storage.artifacts import (
    FileArtifacts,
    RemoteArtifacts,
    ResultId,
    check_sha256,
    check_task_id,
    input_missing_error,
    is_sha256,
    result_gone_error,
)
from sealyard.storage.incoming import IncomingFiles
from sealyard.storage.ingest import CHUNK_BYTES, StoredInput, copy_and_hash, write_and_hash
from sealyard.storage.s3.bucket import Bucket, StoredObject
from sealyard.storage.s3.deletions import DeletionQueue
from sealyard.storage.s3.errors import ObjectMissingError
from sealyard.storage.s3.location import S3Location
from sealyard.storage.s3.probe import StoreProbe, derive_guarantees
from sealyard.storage.s3.result_grants import ResultGrants
from sealyard.storage.s3.uploads import PART_BYTES, SINGLE_BYTES, ObjectUploader, StoreGuarantees

MIN_ORPHAN_AGE = timedelta(hours=24)
"""Objects without a reference are kept for this long: another engine may be about to refer to them."""

log = logging.getLogger(__name__)


class S3Artifacts:
    """:class:`~sealyard.storage.artifacts.RemoteArtifacts` in a bucket. May be used from any thread.

    An index of the stored inputs is loaded by :meth:`open`, because only the engine that has the workspace open writes
    inputs.
    """

    def __init__(
        self,
        folder: Path,
        bucket: Bucket,
        workspace_id: str,
        guarantees: StoreGuarantees,
        *,
        single_bytes: int = SINGLE_BYTES,
        part_bytes: int = PART_BYTES,
    ) -> None:
        """Create a store for reading, without a request. ``folder``: that of the temporary copies."""
        self._bucket = bucket
        self._workspace_id = workspace_id
        self._uploader = ObjectUploader(bucket, guarantees, single_bytes=single_bytes, part_bytes=part_bytes)
        self._result_grants = ResultGrants(bucket, guarantees)
        self._local = FileArtifacts(folder)
        self._incoming = IncomingFiles(folder / "incoming")
        self._deletions = DeletionQueue(bucket.delete)
        self._lock = threading.Lock()
        """Guards the two dictionaries below, and the deletion of local copies."""
        self._inputs: dict[str, StoredObject] = {}
        """The stored inputs, by digest."""
        self._staged: dict[str, set[str]] = {}
        """By task: digests of the inputs that :meth:`stage_inputs` has copied."""

    @classmethod
    def open(cls, folder: Path, location: S3Location, workspace_id: str) -> S3Artifacts:
        """Open the store for writing, as the only engine of the workspace.

        Raises :class:`ArtifactStoreError` if the bucket cannot be used.
        """
        bucket = Bucket(location)
        results = StoreProbe(bucket).run()
        guarantees = derive_guarantees(bucket, results)
        for result in results:
            if not result.passed:
                log.warning("%s does not guarantee that %s. %s", bucket.place, result.name, result.fallback)
        store = cls(folder, bucket, workspace_id, guarantees)
        store.load_index()
        return store

    @classmethod
    def open_reader(cls, folder: Path, location: S3Location, workspace_id: str) -> S3Artifacts:
        """Open the store for reading, without a request."""
        return cls(folder, Bucket(location), workspace_id, StoreGuarantees())

    def load_index(self) -> None:
        """Load the index of the stored inputs."""
        objects = self._bucket.objects(self._folder("inputs"))
        digests = ((stored_object.key.rpartition("/")[2], stored_object) for stored_object in objects)
        inputs = {name: stored_object for name, stored_object in digests if is_sha256(name)}
        with self._lock:
            self._inputs = inputs

    @property
    def remote(self) -> RemoteArtifacts:
        return self

    def check(self) -> None:
        self._bucket.check(self._folder("inputs"))

    # ---- inputs

    def ingest(self, source: Path, progress: Progress | None = None, expected_sha256: str | None = None) -> StoredInput:
        with closing(SourceFile(source)) as source_file:
            self.check_free_space(source_file.size)
            return self._ingest(
                source_file.name,
                expected_sha256,
                lambda fd: copy_and_hash(source_file, fd, progress or no_progress),
                progress or no_progress,
            )

    def ingest_bytes(self, data: bytes) -> StoredInput:
        return self._ingest("The content", None, lambda fd: write_and_hash(data, fd), no_progress)

    def move_in(self, content: Path, sha256: str) -> None:
        self._store_input(content, sha256, no_progress)
        atomic.remove_quietly(content)

    def input_size(self, sha256: str) -> int:
        with self._lock:
            stored_object = self._inputs.get(check_sha256(sha256))
        if stored_object is None:
            raise input_missing_error(sha256)
        return stored_object.size

    def uploaded_at(self, sha256: str) -> datetime | None:
        with self._lock:
            stored_object = self._inputs.get(sha256)
        return stored_object.modified_at if stored_object is not None else None

    def open_input(self, sha256: str) -> BinaryIO:
        try:
            return self._bucket.open(self._input_key(sha256))
        except ObjectMissingError:
            raise input_missing_error(sha256) from None

    def delete_input(self, sha256: str) -> None:
        key = self._input_key(sha256)
        with self._lock:
            is_stored = self._inputs.pop(sha256, None) is not None
            if is_stored:
                self._deletions.add(key)

    def stored_inputs(self) -> Iterator[str]:
        with self._lock:
            digests = tuple(self._inputs)
        return iter(digests)

    def stage_inputs(self, task_id: str, files: Iterable[InputFile], check_cancelled: CheckCancelled) -> None:
        digests = {file.sha256 for file in files if file.inline is None}
        with self._lock:
            self._staged.setdefault(task_id, set()).update(digests)
        for sha256 in digests:
            if not self._has_local_copy(sha256):
                self._fetch(sha256, check_cancelled)

    def grant_input(self, sha256: str, seconds: int) -> InputGrant:
        size = self.input_size(sha256)
        return InputGrant(sha256=sha256, size=size, grant=self._bucket.presign_get(self._input_key(sha256), seconds))

    # ---- work folders

    def work_dir(self, task_id: str) -> Path:
        return self._local.work_dir(task_id)

    def delete_work(self, task_id: str) -> None:
        with self._lock:
            digests = self._staged.pop(task_id, set())
            for sha256 in digests.difference(*self._staged.values()):
                self._local.delete_input(sha256)
        self._local.delete_work(task_id)

    def tasks_with_work_dir(self) -> tuple[str, ...]:
        return self._local.tasks_with_work_dir()

    # ---- results

    def publish_result(self, result: ResultId, work_file: Path, sha256: str, check_cancelled: CheckCancelled) -> None:
        self._uploader.upload(self._result_key(result), work_file, sha256, check_cancelled)

    def grant_result(self, result: ResultId, content: ResultContent, seconds: int) -> ResultGrant:
        return self._result_grants.issue(self._result_key(result), content, seconds)

    def confirm_result(self, result: ResultId, sha256: str, size: int, check_cancelled: CheckCancelled) -> None:
        self._result_grants.confirm(self._result_key(result), sha256, size, check_cancelled)

    def unpublish_result(self, task_id: str, name: str) -> None:  # noqa: ARG002 - the work folder still has the file
        self.remove_result(task_id)

    def open_result(self, result: ResultId, offset: int = 0) -> BinaryIO:
        try:
            return self._bucket.open(self._result_key(result), offset)
        except ObjectMissingError:
            raise result_gone_error() from None

    def remove_result(self, task_id: str) -> None:
        for stored_object in self._bucket.objects(self._folder("results", check_task_id(task_id))):
            self._bucket.delete(stored_object.key)

    def remove_orphaned_results(self, kept: Collection[ResultId]) -> None:
        oldest = datetime.now(UTC) - MIN_ORPHAN_AGE
        kept_keys = {self._result_key(result) for result in kept}
        for stored_object in self._bucket.objects(self._folder("results")):
            if stored_object.key not in kept_keys and stored_object.modified_at < oldest:
                self._bucket.delete(stored_object.key)
        for upload in self._bucket.interrupted_uploads(self._folder()):
            if upload.started_at < oldest:
                self._bucket.abort_upload(upload.key, upload.upload_id)

    # ---- the folder

    def check_free_space(self, size: int) -> None:
        self._local.check_free_space(size)

    def delete_temporary(self) -> None:
        """Also delete the copies of inputs, which the next attempts make again."""
        self._incoming.delete_all()
        for sha256 in tuple(self._local.stored_inputs()):
            self._local.delete_input(sha256)

    def close(self, *, finish: bool) -> None:
        self._deletions.close(finish=finish)

    # ---- internals

    def _ingest(
        self,
        name: str,
        expected_sha256: str | None,
        write_content: Callable[[int], str],
        progress: Progress,
    ) -> StoredInput:
        with self._incoming.write(name, expected_sha256, write_content) as incoming:
            # The upload calls it without adding bytes: they were counted when they were copied.
            self._store_input(incoming.path, incoming.sha256, lambda _: progress(0))
            return StoredInput(sha256=incoming.sha256, size=incoming.size)

    def _store_input(self, path: Path, sha256: str, check_cancelled: CheckCancelled) -> None:
        key = self._input_key(sha256)
        with self._deletions.hold(key):
            self._uploader.upload(key, path, sha256, check_cancelled, repair=True)
            with self._lock:
                self._deletions.withdraw(key)
                self._inputs[sha256] = StoredObject(key, path.stat().st_size, datetime.now(UTC))

    def _has_local_copy(self, sha256: str) -> bool:
        try:
            self._local.input_path(sha256)
        except NotFoundError:
            return False
        return True

    def _fetch(self, sha256: str, check_cancelled: CheckCancelled) -> None:
        """Copy an input to the folder of workers. Does nothing if it is not stored: the worker reports that."""
        try:
            source = self._bucket.open(self._input_key(sha256))
        except ObjectMissingError:
            return
        with source, self._incoming.write(sha256, None, lambda fd: _copy(source, fd, check_cancelled)) as incoming:
            self._local.move_in(incoming.path, sha256)

    def _input_key(self, sha256: str) -> str:
        return self._key("inputs", check_sha256(sha256)[:2], sha256)

    def _result_key(self, result: ResultId) -> str:
        return self._key("results", check_task_id(result.task_id), str(result.fencing_token))

    def _folder(self, *parts: str) -> str:
        """Return the common beginning of keys, with a slash at its end: that of task 1 does not match task 10."""
        return self._key(*parts) + "/"

    def _key(self, *parts: str) -> str:
        return self._bucket.location.key(self._workspace_id, *parts)


def _copy(source: BinaryIO, target_fd: int, check_cancelled: CheckCancelled) -> str:
    """Copy ``source`` to the file descriptor, and return the SHA-256 of its content in hex."""
    hasher = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        hasher.update(chunk)
        atomic.write_all(target_fd, chunk)
        check_cancelled(len(chunk))
    return hasher.hexdigest()
