"""What was downloaded already, kept across starts: a finished task comes down once."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from sealyard.client.config.state_file import StateFile, state_path
from sealyard.client.downloads.events import DownloadedFile
from sealyard.model.base import FrozenStruct
from sealyard.model.tasks import Result, ResultState


class _ReportedLoss(FrozenStruct, frozen=True, kw_only=True):
    """A person was told that this link had ended, or that its artifact is gone."""

    state: ResultState
    expires_at: datetime | None


class _HistoryFile(FrozenStruct, frozen=True, kw_only=True):
    """By task id."""

    get: dict[str, DownloadedFile] = msgspec.field(default_factory=dict)
    told: dict[str, _ReportedLoss] = msgspec.field(default_factory=dict)


class DownloadHistory:
    """The marks of one subject in one workspace, in a JSON file that several processes may share."""

    def __init__(self, path: Path) -> None:
        """``path``: as :func:`default_history_path` says, or elsewhere; made with the first mark. Raises
        :class:`StorageError`.

        A damaged file is set aside and begun anew: then tasks are looked at again, and a file that lies in the
        download folder already is recognised there.
        """
        self._file = StateFile(path, _HistoryFile())
        self._marks = self._file.read()

    @property
    def warning(self) -> str:
        """What a person should know: that a damaged file was set aside, and where. Else empty."""
        return self._file.warning

    def refresh(self) -> None:
        """Takes in what other processes marked."""
        self._marks = self._file.read()

    def get(self, task_id: str) -> DownloadedFile | None:
        return self._marks.get.get(task_id)

    def digests_of_size(self, size: int) -> frozenset[str]:
        """The SHA-256 (hex) of what was downloaded with so many bytes: to know a result by its content."""
        return frozenset(each.sha256 for each in self._marks.get.values() if each.size == size)

    def is_pending(self, task_id: str, result: Result) -> bool:
        """Whether the file is still to be fetched, or its loss still to be told."""
        if task_id in self._marks.get:
            return False
        told = self._marks.told.get(task_id)
        if told is None or told.expires_at != result.expires_at:
            return True
        return result.state is ResultState.GONE and told.state is not ResultState.GONE

    def mark_downloaded(self, downloaded: DownloadedFile) -> None:
        """Raises :class:`StorageError`."""

        def step(marks: _HistoryFile) -> _HistoryFile:
            told = {task_id: each for task_id, each in marks.told.items() if task_id != downloaded.task_id}
            return _HistoryFile(get={**marks.get, downloaded.task_id: downloaded}, told=told)

        self._marks = self._file.update(step)

    def mark_reported(self, task_id: str, state: ResultState, expires_at: datetime | None) -> None:
        """That the link with this end is over was told; a renewed link is another. Raises :class:`StorageError`."""
        told = _ReportedLoss(state=state, expires_at=expires_at)
        self._marks = self._file.update(
            lambda marks: msgspec.structs.replace(marks, told={**marks.told, task_id: told})
        )


def default_history_path(workspace_id: str, subject: str) -> Path:
    """Where the marks of this subject lie by default (platformdirs' ``user_state_dir``)."""
    return state_path("downloads", workspace_id, subject)
