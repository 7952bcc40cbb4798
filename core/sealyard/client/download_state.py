"""What was downloaded already, kept across starts: a finished task comes down once."""

from __future__ import annotations

from pathlib import Path


class DownloadState:
    """The marks of one subject in one workspace, in a JSON file that several processes may share."""

    def __init__(self, path: Path) -> None:
        """``path``: as :func:`state_file` says, or elsewhere; made when the first mark is."""
        self.warning = ""
        """What a person should know: that a damaged file was set aside, and where."""


def state_file(workspace_id: str, subject: str) -> Path:
    """Where the marks of this subject lie by default (platformdirs' ``user_state_dir``)."""
    raise NotImplementedError
