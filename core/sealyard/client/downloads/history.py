"""Persistent record of finished downloads, so that each result is downloaded only once."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from sealyard.client.config.state_file import StateFile, state_path
from sealyard.client.downloads.events import DownloadedFile
from sealyard.model.base import FrozenStruct
from sealyard.model.tasks import Result, ResultState


class _ReportedLoss(FrozenStruct, frozen=True, kw_only=True):
    """A loss that was reported to the user: the link has expired, or the artifact was deleted."""

    state: ResultState
    expires_at: datetime | None


class _HistoryFile(FrozenStruct, frozen=True, kw_only=True):
    """Content of the history file: the downloaded files and the reported losses, both by task id."""

    downloaded: dict[str, DownloadedFile] = msgspec.field(default_factory=dict)
    losses: dict[str, _ReportedLoss] = msgspec.field(default_factory=dict, name="told")


class DownloadHistory:
    """Download records of one subject in one workspace, in a JSON file that several processes may share."""

    def __init__(self, path: Path) -> None:
        """Load the history from ``path``, usually :func:`default_history_path`.

        The file is created with the first record. A damaged file is renamed and replaced by an empty history: tasks
        are then checked again, and files that are already in the download folder are recognized there. Raises
        :class:`StorageError` if the file cannot be read.
        """
        self._file = StateFile(path, _HistoryFile())
        self._records = self._file.read()

    @property
    def warning(self) -> str:
        """Message for the user with the new name of a damaged history file that was renamed; empty if none was."""
        return self._file.warning

    def refresh(self) -> None:
        """Reload the records, including those that other processes have added."""
        self._records = self._file.read()

    def get(self, task_id: str) -> DownloadedFile | None:
        return self._records.downloaded.get(task_id)

    def digests_of_size(self, size: int) -> frozenset[str]:
        """Return the SHA-256 (hex) of all downloaded files of ``size`` bytes, to recognize a result by its content."""
        return frozenset(file.sha256 for file in self._records.downloaded.values() if file.size == size)

    def is_pending(self, task_id: str, result: Result) -> bool:
        """Return whether the task's file still has to be downloaded, or its loss still has to be reported."""
        if task_id in self._records.downloaded:
            return False
        loss = self._records.losses.get(task_id)
        if loss is None or loss.expires_at != result.expires_at:
            return True
        return result.state is ResultState.GONE and loss.state is not ResultState.GONE

    def mark_downloaded(self, downloaded: DownloadedFile) -> None:
        """Record a finished download. Raises :class:`StorageError` if the file cannot be written."""

        def add_download(records: _HistoryFile) -> _HistoryFile:
            losses = {task_id: loss for task_id, loss in records.losses.items() if task_id != downloaded.task_id}
            return _HistoryFile(downloaded={**records.downloaded, downloaded.task_id: downloaded}, losses=losses)

        self._records = self._file.update(add_download)

    def mark_reported(self, task_id: str, state: ResultState, expires_at: datetime | None) -> None:
        """Record that the loss of a task's result was reported for the link that expires at ``expires_at``.

        A renewed link has another expiry, so that the result is pending again. Raises :class:`StorageError` if the file
        cannot be written.
        """
        reported_loss = _ReportedLoss(state=state, expires_at=expires_at)
        self._records = self._file.update(
            lambda records: msgspec.structs.replace(records, losses={**records.losses, task_id: reported_loss})
        )


def default_history_path(workspace_id: str, subject: str) -> Path:
    """Return the default path of the subject's download history, in platformdirs' ``user_state_dir``."""
    return state_path("downloads", workspace_id, subject)
