"""The folder of uploads. Each upload has a file with its content, and a record of how many bytes are durable."""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime
from pathlib import Path

import msgspec

from sealyard.fs import atomic
from sealyard.fs.private import make_private_dir
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.storage.direct_uploads import DirectSlot

_RECORD_SUFFIX = ".json"

log = logging.getLogger(__name__)


class UploadRecord(FrozenStruct, frozen=True, kw_only=True):
    """The state of an upload, stored beside its content. Digests are lower case hex.

    ``offset`` is the number of content bytes known to be on disk. If ``size`` (in bytes) is None, clients cannot resume
    the upload, and it is not kept across a restart. ``sha256`` is set once the content is complete. ``claimed`` means
    that a task took the content; only the record remains, so that the id of the upload stays known. ``slot``: where a
    remote artifact store receives the content, if the client may send it there.
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
    slot: DirectSlot | None = None


class UploadDir:
    """The folder of uploads, with mode 0700 and files of mode 0600.

    All methods block, and raise ``OSError`` if the disk refuses an operation.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def content(self, record: UploadRecord) -> Path:
        """Return the path of the upload's content.

        The name is derived from owner and id, because two subjects may choose the same id for their uploads.
        """
        return self._folder / hashlib.sha256(f"{record.owner} {record.id}".encode()).hexdigest()

    def save(self, record: UploadRecord) -> None:
        """Save the record durably and atomically."""
        atomic.write_atomic(self._record_path(record), msgspec.json.encode(record))

    def remove(self, record: UploadRecord) -> None:
        """Delete the record, then the content. If the second step fails, :meth:`records` deletes the content later."""
        atomic.remove_quietly(self._record_path(record))
        atomic.remove_quietly(self.content(record))

    def records(self) -> tuple[UploadRecord, ...]:
        """Return the records that the previous engine left, and delete all files that belong to none of them.

        Must be called only once, when the engine starts.
        """
        make_private_dir(self._folder)
        records = self.load()
        kept_paths = {path for record in records for path in (self._record_path(record), self.content(record))}
        for path in self._folder.iterdir():
            if path not in kept_paths:
                atomic.remove_quietly(path)
        return records

    def load(self) -> tuple[UploadRecord, ...]:
        """Return the records, without changing the folder. No engine may have the workspace open."""
        paths = self._folder.glob(f"*{_RECORD_SUFFIX}")
        return tuple(record for path in paths if (record := _load_record(path)) is not None)

    def _record_path(self, record: UploadRecord) -> Path:
        return self.content(record).with_suffix(_RECORD_SUFFIX)


def _load_record(path: Path) -> UploadRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=UploadRecord)
    except JSON_ERRORS as error:
        log.warning("dropped an upload, could not read its record %s: %s", path.name, error)
        return None
