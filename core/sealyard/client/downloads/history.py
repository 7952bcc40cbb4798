"""Persistent record of finished downloads, so that each result is downloaded only once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from sealyard.client.config.state_file import StateFile, state_path
from sealyard.client.downloads.events import DownloadedFile
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import StorageError
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
        are then checked again, and files that are already in the download folder are recognized there. The same applies
        to a file that cannot be read, except that it is not renamed.
        """
        self._file = StateFile(path, _HistoryFile())
        self._records = _HistoryFile()
        self._unsaved: list[Callable[[_HistoryFile], _HistoryFile]] = []
        self._lock = threading.Lock()
        self._read_warning = ""
        try:
            self._records = self._file.read()
        except StorageError as error:
            self._read_warning = f"Earlier downloads are unknown. {error}"

    @property
    def warning(self) -> str:
        """Message for the user: the history file cannot be read, or was damaged and renamed; else empty."""
        return self._read_warning or self._file.warning

    def refresh(self) -> None:
        """Reload the records, including those that other processes have added."""
        with self._lock, suppress(StorageError):
            self._records = self._with_unsaved(self._file.read())

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
        """Record a finished download.

        Raises :class:`StorageError` if the file cannot be written; this object then keeps the record, and writes it
        with the next one.
        """

        def add_download(records: _HistoryFile) -> _HistoryFile:
            losses = {task_id: loss for task_id, loss in records.losses.items() if task_id != downloaded.task_id}
            return _HistoryFile(downloaded={**records.downloaded, downloaded.task_id: downloaded}, losses=losses)

        self._update(add_download)

    def mark_reported(self, task_id: str, state: ResultState, expires_at: datetime | None) -> None:
        """Record that the loss of a task's result was reported for the link that expires at ``expires_at``.

        A renewed link has another expiry, so that the result is pending again. Raises :class:`StorageError` like
        :meth:`mark_downloaded`.
        """
        reported_loss = _ReportedLoss(state=state, expires_at=expires_at)
        self._update(
            lambda records: msgspec.structs.replace(records, losses={**records.losses, task_id: reported_loss})
        )

    def _update(self, change: Callable[[_HistoryFile], _HistoryFile]) -> None:
        with self._lock:
            self._unsaved.append(change)
            self._records = change(self._records)
            self._records = self._file.update(self._with_unsaved)
            self._unsaved.clear()

    def _with_unsaved(self, records: _HistoryFile) -> _HistoryFile:
        for change in self._unsaved:
            records = change(records)
        return records


def default_history_path(workspace_id: str, subject: str) -> Path:
    """Return the default path of the subject's download history, in platformdirs' ``user_state_dir``."""
    return state_path("downloads", workspace_id, subject)
