"""Read the stored files of a task: what approvers see of them, and warnings about them. All functions block."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from sealyard.fs.hashing import file_sha256
from sealyard.metadata.checks import compare_metadata, metadata_warning
from sealyard.metadata.fields import MAX_BYTES
from sealyard.model.errors import IntegrityError, NotFoundError
from sealyard.model.metadata_changes import MetadataChanges
from sealyard.model.package_diff import ChangeKind, diff_packages
from sealyard.model.tasks import InputFile, Task
from sealyard.storage.artifacts import ArtifactStore

PREVIEW_BYTES = 65536
"""Number of bytes of each metadata file that approvers see; also the maximum size of one in an se-1 container."""


class ReviewedContents(NamedTuple):
    """The name and first bytes of each metadata file, and the names of files that have changed since their upload.

    ``warnings``: about the syntax of the metadata. ``changes``: in its fields, since the last released package.
    """

    previews: tuple[tuple[str, bytes], ...]
    changed_names: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    changes: tuple[MetadataChanges, ...] = ()


class TaskContents:
    """Reads the stored input files of tasks. Has no state, so that any thread may use it."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def read(self, task: Task, previous: Task | None) -> ReviewedContents:
        """Read the metadata of a task, check it, and compare it with that of ``previous``.

        The files of a final task are removed, so its previews are empty.
        """
        if task.status.is_final:
            return ReviewedContents(tuple((file.name, b"") for file in task.metadata), ())
        contents = {file.sha256: self._read_file(file) for file in task.metadata}
        return ReviewedContents(
            previews=tuple((file.name, (contents[file.sha256] or b"")[:PREVIEW_BYTES]) for file in task.metadata),
            changed_names=(
                *(file.name for file in task.metadata if contents[file.sha256] is None),
                *(file.name for file in task.inputs if file.inline is not None and not _is_inline_intact(file)),
            ),
            warnings=_metadata_warnings(task.metadata, contents),
            changes=self._compare_metadata(previous, task, contents) if previous is not None else (),
        )

    def find_changed_names(self, task: Task) -> tuple[str, ...]:
        """Return the names of the metadata files and inline inputs that have changed since their upload."""
        return (
            *(file.name for file in task.metadata if self._read_file(file) is None),
            *(file.name for file in task.inputs if file.inline is not None and not _is_inline_intact(file)),
        )

    def find_warnings(self, metadata: Iterable[InputFile]) -> tuple[str, ...]:
        """Return the warnings about metadata files. Files that are not stored are skipped."""
        files = tuple(metadata)
        return _metadata_warnings(files, {file.sha256: self._read_stored_file(file) for file in files})

    def _compare_metadata(
        self, previous: Task, task: Task, contents: dict[str, bytes | None]
    ) -> tuple[MetadataChanges, ...]:
        """Compare the changed metadata files field by field."""
        changes = []
        for change in diff_packages(previous, task).metadata:
            if change.kind is not ChangeKind.CHANGED or change.before is None or change.after is None:
                continue
            old_name, new_name = change.before.name, change.after.name
            old_content, new_content = self._read_stored_file(change.before), contents[change.after.sha256]
            if old_content is None:
                problem = "The old version is no longer stored."
                changes.append(MetadataChanges(name=new_name, old_name=old_name, problem=problem))
            elif new_content is not None:
                changes.append(compare_metadata(old_name, old_content, new_name, new_content))
        return tuple(changes)

    def _read_stored_file(self, file: InputFile) -> bytes | None:
        """Return what :meth:`_read_file` returns, or None if the file is not stored."""
        try:
            return self._read_file(file)
        except NotFoundError:
            return None

    def _read_file(self, file: InputFile) -> bytes | None:
        """Return the first bytes of a file, more than can be parsed if it is too large to be parsed.

        Returns None if the stored file is not the one that was uploaded. Raises :class:`NotFoundError` if it is not
        stored.
        """
        try:
            with self._artifacts.open_input(file.sha256) as stored_file:
                content = stored_file.read(MAX_BYTES + 1)
                stored_file.seek(0)
                return content if file_sha256(stored_file) == file.sha256 else None
        except IntegrityError:
            return None


def _metadata_warnings(files: Iterable[InputFile], contents: dict[str, bytes | None]) -> tuple[str, ...]:
    warnings = (
        metadata_warning(file.name, content) for file in files if (content := contents[file.sha256]) is not None
    )
    return tuple(filter(None, warnings))


def _is_inline_intact(file: InputFile) -> bool:
    """Return whether the file's inline content has the recorded size and SHA-256."""
    assert file.inline is not None
    try:
        content = base64.b64decode(file.inline, validate=True)
    except binascii.Error:
        return False
    return len(content) == file.size and hashlib.sha256(content).hexdigest() == file.sha256
