"""Copies of key files between the hosts of a zone.

A key command changes files in ``keys/`` of the host that executes it. The agent inserts these files into the bus
database, and the other hosts of the zone write them before they start a job or a command. The files are encrypted or
authenticated with the master key, which is never copied. A file that another program changed on the way is therefore
rejected when its key is used.

For each file, the host records the number of the row and the content that it shares with the bus database. A file with
another content was changed by a command of this host, and is inserted. A row with a lower number than the recorded one
is ignored, so an older row does not replace a newer file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from sealyard.fs.atomic import storage_error, write_atomic
from sealyard.fs.private import make_private_dir
from sealyard.fs.regular_file import open_regular
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.errors import IntegrityError, StorageError

MAX_FILE_BYTES = 1 << 20

_NAME = r"[a-z0-9][a-z0-9._-]{0,63}"
_CHECK_FILE = "local/.master-key-check.json"
_PATHS = re.compile(
    rf"{re.escape(_CHECK_FILE)}|local/{_NAME}/(key\.json|v[1-9][0-9]{{0,5}}\.key)|registered/[0-9a-f]{{64}}\.json"
)


class KeyFile(NamedTuple):
    """A file in ``keys/``. ``path``: relative to that folder."""

    path: str
    content: bytes


class KeyFileRow(NamedTuple):
    """A row of ``bus.key_file``."""

    number: int
    path: str
    content: bytes


class _SharedVersion(FrozenStruct, frozen=True, kw_only=True):
    """The content (SHA-256, hex) of a file that this host shares with the bus database, and the number of its row."""

    number: int
    sha256: str


def is_key_file(path: str) -> bool:
    """Return whether files with this path, relative to ``keys/``, are copied between hosts."""
    return _PATHS.fullmatch(path) is not None


class KeyFiles:
    """The key files of a crypto host. All methods block, and raise :class:`StorageError` if the disk refuses them.

    ``record``: the file that records what this host shares with the bus database.
    """

    def __init__(self, folder: Path, record: Path) -> None:
        self._folder = folder
        self._record = record
        self._shared = self._load_record()

    @property
    def numbers(self) -> Mapping[str, int]:
        """The number of the row that was written or inserted last, by path."""
        return {path: version.number for path, version in self._shared.items()}

    def write(self, rows: Iterable[KeyFileRow]) -> tuple[str, ...]:
        """Write the files of the rows, and return the paths that are no key files, which are ignored.

        Rows that are not newer than the recorded ones are ignored, too.
        """
        ignored_paths = []
        new_rows = []
        for row in sorted(rows):
            if not is_key_file(row.path) or len(row.content) > MAX_FILE_BYTES:
                ignored_paths.append(row.path)
            elif row.number > self.numbers.get(row.path, 0):
                self._write_file(row)
                new_rows.append(row)
        self.mark_shared(new_rows)
        return tuple(ignored_paths)

    def find_changed(self) -> tuple[KeyFile, ...]:
        """Return the files that the bus database does not have with their present content.

        The files of a version precede the file that lists it.
        """
        files = [file for path in self._list_paths() if (file := self._read_file(path)) is not None]
        changed = [file for file in files if self._shared_sha256(file.path) != _sha256(file.content)]
        return tuple(sorted(changed, key=lambda file: (file.path.endswith("/key.json"), file.path)))

    def mark_shared(self, rows: Iterable[KeyFileRow]) -> None:
        """Record that the bus database has these files of this host."""
        versions = {row.path: _SharedVersion(number=row.number, sha256=_sha256(row.content)) for row in rows}
        if versions:
            self._shared |= versions
            self._save_record()

    def _shared_sha256(self, path: str) -> str:
        version = self._shared.get(path)
        return "" if version is None else version.sha256

    def _list_paths(self) -> list[str]:
        try:
            paths = [path.relative_to(self._folder).as_posix() for path in self._folder.glob("*/**/*")]
        except OSError as error:
            raise storage_error(error, "reading the key store") from error
        return [path for path in paths if is_key_file(path)]

    def _read_file(self, path: str) -> KeyFile | None:
        """Return the file, or None if it is a link or too large, or disappears meanwhile."""
        try:
            with os.fdopen(open_regular(self._folder / path), "rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
        except (IntegrityError, FileNotFoundError):
            return None
        except OSError as error:
            raise storage_error(error, "reading the key store") from error
        return KeyFile(path, content) if len(content) <= MAX_FILE_BYTES else None

    def _write_file(self, row: KeyFileRow) -> None:
        target = self._folder / row.path
        if row.path == _CHECK_FILE and target.exists():
            # All hosts of a zone have the same content, and a wrong one would lock the key store.
            return
        try:
            make_private_dir(target.parent)
            write_atomic(target, row.content)
        except OSError as error:
            raise storage_error(error, "writing the key store") from error

    def _load_record(self) -> dict[str, _SharedVersion]:
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=dict[str, _SharedVersion])
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise storage_error(error, "reading the record of the key files") from error
        except JSON_ERRORS:
            raise StorageError(
                f"The record of the key files, {self._record.name}, is damaged.",
                f"Restore the host from a backup, or remove worker/{self._record.name}: the host then copies all key"
                " files again.",
            ) from None

    def _save_record(self) -> None:
        try:
            make_private_dir(self._record.parent)
            write_atomic(self._record, msgspec.json.encode(self._shared))
        except OSError as error:
            raise storage_error(error, "writing the record of the key files") from error


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
