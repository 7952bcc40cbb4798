"""Where uploaded files are on this machine, so that a task can be submitted again without selecting them again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from sealyard.client.config.state_file import StateFile, state_path
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import StorageError

MAX_PATHS = 5000
"""Number of paths that are kept; the oldest ones are dropped first."""


class _PathsFile(FrozenStruct, frozen=True, kw_only=True):
    """Absolute path of the last uploaded file with each SHA-256 (hex), oldest first."""

    paths: dict[str, str] = msgspec.field(default_factory=dict)


class SourcePaths:
    """The paths of uploaded files by their content, in a file that all processes of the user share.

    The record is a convenience: errors while reading or writing it are ignored.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Use the file at ``path``, by default one in platformdirs' ``user_state_dir``."""
        self._file = StateFile(path or state_path("uploads", "paths"), _PathsFile())

    def remember(self, sources: Mapping[str, Path]) -> None:
        """Record the path of each uploaded file. ``sources``: paths by SHA-256 (hex)."""
        new_paths = {sha256: str(path.absolute()) for sha256, path in sources.items() if _is_unicode(path)}
        if not new_paths:
            return

        def add(record: _PathsFile) -> _PathsFile:
            kept_paths = {sha256: path for sha256, path in record.paths.items() if sha256 not in new_paths}
            return _PathsFile(paths=dict([*kept_paths.items(), *new_paths.items()][-MAX_PATHS:]))

        with suppress(StorageError):
            self._file.update(add)

    def find(self, sha256: str, size: int | None) -> Path | None:
        """Return the recorded path of a file with this SHA-256 (hex), if a regular file of this size is still there.

        ``size``: None if it is not known. The caller must verify the digest, for example with ``expected_sha256`` of an
        upload.
        """
        try:
            recorded_path = self._file.read().paths.get(sha256)
        except StorageError:
            return None
        if recorded_path is None:
            return None
        path = Path(recorded_path)
        with suppress(OSError, ValueError):
            if path.is_file() and size in (None, path.stat().st_size):
                return path
        return None


def _is_unicode(path: Path) -> bool:
    """Return whether the path can be stored as text."""
    try:
        str(path.absolute()).encode()
    except (UnicodeEncodeError, OSError):
        return False
    return True
