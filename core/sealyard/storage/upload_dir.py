"""The folder of uploads: for each a file that grows, and beside it a record of how much of it is durable."""

from __future__ import annotations

import hashlib
import logging
import os
from datetime import datetime
from pathlib import Path

import msgspec

from sealyard.fs import atomic as disk
from sealyard.model.base import FrozenStruct

_RECORD = ".json"
_NEW = ".new"

log = logging.getLogger(__name__)


class UploadRecord(FrozenStruct, frozen=True, kw_only=True):
    """``offset``: bytes of the content that are known to be on the disk. Digests in lower case hex.

    ``size`` None: nobody can go on with this upload, so it is not kept over a restart. ``sha256`` is there once the
    content is whole. ``claimed``: a task has it; what is left is the memory of its name.
    """

    id: str
    owner: str
    name: str
    size: int | None
    expected_sha256: str | None
    created_at: datetime
    offset: int = 0
    sha256: str | None = None
    claimed: bool = False


class UploadDir:
    """Of mode 0700, its files 0600. Its methods block and raise ``OSError``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def content(self, record: UploadRecord) -> Path:
        """Named after owner and id: each subject chooses its ids without regard to the others'."""
        return self._folder / hashlib.sha256(f"{record.owner} {record.id}".encode()).hexdigest()

    def save(self, record: UploadRecord) -> None:
        """Durable on return; the record is the old or the new one at any moment."""
        path = self._record(record)
        new = path.with_suffix(_NEW)
        fd = disk.create_private_file(new)
        try:
            disk.write_all(fd, msgspec.json.encode(record))
            disk.sync(fd)
        finally:
            os.close(fd)
        disk.rename(new, path)
        disk.sync_folder(self._folder)

    def remove(self, record: UploadRecord) -> None:
        """The record first: content without one is cleared away at the next start."""
        disk.remove_quietly(self._record(record))
        disk.remove_quietly(self.content(record))

    def records(self) -> tuple[UploadRecord, ...]:
        """What the last engine has left; all else in the folder is removed. To be called once, at start."""
        disk.make_private_dir(self._folder)
        found = [record for path in self._folder.glob(f"*{_RECORD}") if (record := _read(path)) is not None]
        kept = {path for record in found for path in (self._record(record), self.content(record))}
        for path in self._folder.iterdir():
            if path not in kept:
                disk.remove_quietly(path)
        return tuple(found)

    def _record(self, record: UploadRecord) -> Path:
        return self.content(record).with_suffix(_RECORD)


def _read(path: Path) -> UploadRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=UploadRecord)
    except msgspec.MsgspecError as error:
        log.warning("an upload is given up, for its record %s cannot be read: %s", path.name, error)
        return None
