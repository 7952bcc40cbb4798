"""A fake artifact store on another machine, in a folder. The test writes what a crypto host would upload."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path

from sealyard.concurrency.threads import CheckCancelled
from sealyard.model.errors import IntegrityError, SealyardError
from sealyard.model.grants import Grant, InputGrant, ResultContent, ResultGrant
from sealyard.model.tasks import InputFile
from sealyard.storage.artifacts import FileArtifacts, ResultId

EXPIRES_AT = datetime(2030, 1, 1, tzinfo=UTC)


class FakeRemoteArtifacts(FileArtifacts):
    """A :class:`sealyard.storage.artifacts.RemoteArtifacts` without a network.

    ``error``: raised by the functions for grants and results.
    """

    direct = None

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.remote = self
        self.error: SealyardError | None = None
        self.confirmed: list[ResultId] = []
        self._uploads = folder / "uploaded"

    def upload(self, result: ResultId, content: bytes) -> None:
        """Store the content as a host does."""
        path = self._upload_path(result)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def grant_input(self, sha256: str, seconds: int) -> InputGrant:
        self._raise_error()
        return InputGrant(sha256=sha256, size=self.input_size(sha256), grant=_build_grant(f"inputs/{sha256}", seconds))

    def grant_result(self, result: ResultId, content: ResultContent, seconds: int) -> ResultGrant:
        self._raise_error()
        grant = _build_grant(f"results/{result.task_id}/{result.fencing_token}", seconds)
        return ResultGrant(sha256=content.sha256, grants=(grant,))

    def grant_download(self, result: ResultId, file_name: str, seconds: int) -> Grant:
        self._raise_error()
        return _build_grant(f"results/{result.task_id}/{result.fencing_token}", seconds)

    def confirm_result(self, result: ResultId, sha256: str, size: int, check_cancelled: CheckCancelled) -> None:
        self._raise_error()
        check_cancelled(0)
        path = self._upload_path(result)
        content = path.read_bytes() if path.exists() else b""
        if (hashlib.sha256(content).hexdigest(), len(content)) != (sha256, size):
            raise IntegrityError("The object store does not contain the result.", "Submit the request again.")
        self.result_path(result.task_id).write_bytes(content)
        self.confirmed.append(result)

    def unpublish_result(self, task_id: str, name: str) -> None:
        self.remove_result(task_id)

    def check(self) -> None:
        return None

    def stage_inputs(self, task_id: str, files: Iterable[InputFile], check_cancelled: CheckCancelled) -> None:
        raise AssertionError("the workers are on other machines")

    def uploaded_at(self, sha256: str) -> datetime | None:
        return None

    def remove_orphaned_results(self, kept: Collection[ResultId]) -> None:
        return None

    def close(self, *, finish: bool) -> None:
        return None

    def _upload_path(self, result: ResultId) -> Path:
        return self._uploads / f"{result.task_id}-{result.fencing_token}"

    def _raise_error(self) -> None:
        if self.error is not None:
            raise self.error


def _build_grant(key: str, seconds: int) -> Grant:
    assert seconds > 0
    return Grant(url=f"https://store.example/{key}", expires_at=EXPIRES_AT)
