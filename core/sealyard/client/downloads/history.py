"""Persistent record of finished downloads, so that each result is downloaded once."""

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
    """Stored content, by task id: the downloaded files and the reported losses."""

    downloaded: dict[str, DownloadedFile] = msgspec.field(default_factory=dict)
    losses: dict[str, _ReportedLoss] = msgspec.field(default_factory=dict, name="told")


class DownloadHistory:
    """Download records of one subject in one workspace, in a JSON file that several processes may share."""

    def __init__(self, path: Path) -> None:
        """Load the history from ``path``, usually :func:`default_history_path`. Raises :class:`StorageError`.

        The file is created with the first record. A damaged file is renamed and replaced by an empty history: tasks
        are then checked again, and files that are in the download folder already are recognized there.
        """
        self._file = StateFile(path, _HistoryFile())
        self._records = self._file.read()

    @property
    def warning(self) -> str:
        """Text for the user that a damaged file was renamed, and to which name; empty if there was none."""
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
        """Return whether the file still has to be downloaded, or its loss still has to be reported."""
        if task_id in self._records.downloaded:
            return False
        loss = self._records.losses.get(task_id)
        if loss is None or loss.expires_at != result.expires_at:
            return True
        return result.state is ResultState.GONE and loss.state is not ResultState.GONE

    def mark_downloaded(self, downloaded: DownloadedFile) -> None:
        """Record a finished download. Raises :class:`StorageError`."""

        def add_download(records: _HistoryFile) -> _HistoryFile:
            losses = {task_id: loss for task_id, loss in records.losses.items() if task_id != downloaded.task_id}
            return _HistoryFile(downloaded={**records.downloaded, downloaded.task_id: downloaded}, losses=losses)

        self._records = self._file.update(add_download)

    def mark_reported(self, task_id: str, state: ResultState, expires_at: datetime | None) -> None:
        """Record that the loss of the result was reported. Raises :class:`StorageError`.

        Applies to the link that expires at ``expires_at``; a renewed link has another expiry and is pending again.
        """
        loss = _ReportedLoss(state=state, expires_at=expires_at)
        self._records = self._file.update(
            lambda records: msgspec.structs.replace(records, losses={**records.losses, task_id: loss})
        )


def default_history_path(workspace_id: str, subject: str) -> Path:
    """Return the default path of this subject's history, below platformdirs' ``user_state_dir``."""
    return state_path("downloads", workspace_id, subject)
