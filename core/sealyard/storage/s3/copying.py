"""Copy inputs and results to and from a bucket.

While no engine uses the objects of a workspace in a bucket, because they are an unfinished copy or were moved away, the
object ``<workspace>/move.json`` says so. A move stores objects only if there are no others, or if this object exists.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from sealyard.concurrency.threads import CheckCancelled
from sealyard.fs import atomic
from sealyard.fs.hashing import file_sha256
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.errors import ArtifactStoreError, ConflictError
from sealyard.model.moves import ArtifactDefect
from sealyard.storage.artifact_copy import Artifact, DefectError
from sealyard.storage.incoming import IncomingFiles
from sealyard.storage.ingest import CHUNK_BYTES
from sealyard.storage.s3.bucket import Bucket
from sealyard.storage.s3.errors import ObjectMissingError
from sealyard.storage.s3.location import S3Location
from sealyard.storage.s3.object_keys import ObjectKeys
from sealyard.storage.s3.probe import StoreProbe, derive_guarantees
from sealyard.storage.s3.uploads import PART_BYTES, SINGLE_BYTES, ObjectUploader, StoreGuarantees

MAX_MARK_BYTES = 4096

log = logging.getLogger(__name__)


class _Mark(FrozenStruct, frozen=True, kw_only=True):
    """The contents of ``move.json`` in a bucket. ``attempt``: the run of a move; empty if it was moved away."""

    attempt: str = ""


class BucketPlace:
    """:class:`~sealyard.storage.artifact_copy.ArtifactPlace` in a bucket.

    All methods raise :class:`ArtifactStoreError` if the bucket cannot be used.
    """

    def __init__(self, location: S3Location, workspace_id: str) -> None:
        """Create the place without a request."""
        self._bucket = Bucket(location)
        self._keys = ObjectKeys(location, workspace_id)
        self._mark_key = self._keys.of("move.json")
        self._guarantees = StoreGuarantees(checks_digests=False, keeps_existing=False)

    def find_defect(
        self, artifact: Artifact, check_cancelled: CheckCancelled, *, read: bool = True
    ) -> ArtifactDefect | None:
        check_cancelled(0)
        status = self._bucket.status(self._key(artifact))
        if status is None:
            return ArtifactDefect.MISSING
        if status.size != artifact.size:
            return ArtifactDefect.DAMAGED
        sha256 = status.sha256
        if sha256 is None and read:
            try:
                with self._bucket.open(self._key(artifact)) as file:
                    sha256 = file_sha256(file, check_cancelled)
            except ObjectMissingError:
                return ArtifactDefect.MISSING
        return ArtifactDefect.DAMAGED if sha256 not in (None, artifact.sha256) else None

    @contextmanager
    def open_verified(
        self, artifact: Artifact, incoming: IncomingFiles, check_cancelled: CheckCancelled
    ) -> Iterator[Path]:
        try:
            source = self._bucket.open(self._key(artifact))
        except ObjectMissingError:
            raise DefectError(ArtifactDefect.MISSING) from None
        with (
            source,
            incoming.write(artifact.sha256, None, lambda fd: _copy(source, fd, artifact.size, check_cancelled)) as file,
        ):
            if file.sha256 != artifact.sha256:
                raise DefectError(ArtifactDefect.DAMAGED)
            try:
                file.sync()
            except OSError as error:
                raise atomic.storage_error(error, "writing a copy") from error
            yield file.path

    def check_target(self, *, has_unfinished_copy: bool) -> None:  # noqa: ARG002 - the bucket has a mark of its own
        """Also find out what the bucket guarantees, with small objects that are removed again."""
        self._guarantees = derive_guarantees(self._bucket, StoreProbe(self._bucket).run())
        folders = (self._keys.folder("inputs"), self._keys.folder("results"))
        has_objects = any(next(self._bucket.objects(folder), None) is not None for folder in folders)
        if has_objects and self._load_mark() is None:
            raise ConflictError(
                f"{self._bucket.place} already contains inputs or results of this workspace.",
                "Another copy of the workspace may use them: choose another prefix, or remove them.",
            )

    def begin(self, attempt: str, artifacts: Collection[Artifact]) -> None:  # noqa: ARG002 - an engine removes others
        self._save_mark(_Mark(attempt=attempt))

    def store(self, artifact: Artifact, path: Path, check_cancelled: CheckCancelled) -> None:
        uploader = ObjectUploader(self._bucket, self._guarantees, single_bytes=SINGLE_BYTES, part_bytes=PART_BYTES)
        uploader.upload(self._key(artifact), path, artifact.sha256, check_cancelled, repair=True)

    def require_current(self, attempt: str) -> None:
        mark = self._load_mark()
        if mark is None or mark.attempt != attempt:
            raise ConflictError(
                f"Another copy of the workspace was moved to {self._bucket.location} at the same time.",
                "Choose another prefix.",
            )

    def activate(self) -> None:
        self._bucket.delete(self._mark_key)

    def retire(self, name: str) -> None:  # noqa: ARG002 - objects are kept under their keys
        """Does not fail if the bucket cannot be used: a workspace can also be moved away from a lost bucket."""
        try:
            self._save_mark(_Mark())
        except ArtifactStoreError as error:
            log.warning("could not record in the bucket that the workspace was moved away: %s", error)

    def _load_mark(self) -> _Mark | None:
        """Return the mark; None if an engine may use the objects. An unreadable mark is one of another run."""
        try:
            with self._bucket.open(self._mark_key) as file:
                return msgspec.json.decode(file.read(MAX_MARK_BYTES), type=_Mark)
        except ObjectMissingError:
            return None
        except JSON_ERRORS:
            return _Mark()

    def _save_mark(self, mark: _Mark) -> None:
        content = msgspec.json.encode(mark)
        self._bucket.put(self._mark_key, content, hashlib.sha256(content).hexdigest(), replace=True)

    def _key(self, artifact: Artifact) -> str:
        return self._keys.input(artifact.sha256) if artifact.result is None else self._keys.result(artifact.result)


def _copy(source: BinaryIO, target_fd: int, size: int, check_cancelled: CheckCancelled) -> str:
    """Copy at most one byte more than ``size`` to the file descriptor, and return its SHA-256 in hex."""
    hasher = hashlib.sha256()
    remaining = size + 1
    while remaining and (chunk := source.read(min(CHUNK_BYTES, remaining))):
        hasher.update(chunk)
        atomic.write_all(target_fd, chunk)
        check_cancelled(len(chunk))
        remaining -= len(chunk)
    return hasher.hexdigest()
