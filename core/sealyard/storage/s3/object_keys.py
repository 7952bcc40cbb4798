"""The keys of the objects of a workspace."""

from __future__ import annotations

from sealyard.storage.artifacts import ResultId, check_sha256, check_task_id
from sealyard.storage.s3.location import S3Location


class ObjectKeys:
    """Builds the keys of a workspace. Raises :class:`UsageError` for an invalid SHA-256 or task id."""

    def __init__(self, location: S3Location, workspace_id: str) -> None:
        self._location = location
        self._workspace_id = workspace_id

    def input(self, sha256: str) -> str:
        return self.of("inputs", check_sha256(sha256)[:2], sha256)

    def result(self, result: ResultId) -> str:
        return self.of("results", check_task_id(result.task_id), str(result.fencing_token))

    def folder(self, *parts: str) -> str:
        """Return the common beginning of keys, with a slash at its end: that of task 1 does not match task 10."""
        return self.of(*parts) + "/"

    def of(self, *parts: str) -> str:
        return self._location.key(self._workspace_id, *parts)
