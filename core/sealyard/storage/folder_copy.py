"""Copy store and audit log into the folder of a workspace, and retire those that were copied to a database.

While the metadata of the workspace names a database, no process opens the store and the audit log in the folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from sealyard.audit.copying import write_audit_log
from sealyard.audit.reader import AuditReader
from sealyard.audit.segment_files import last_line
from sealyard.fs import atomic
from sealyard.fs.private import make_private_dir
from sealyard.model.errors import ConflictError
from sealyard.model.safe_text import escape_text
from sealyard.storage.content import (
    WorkspaceContent,
    differing_copy_error,
    iter_documents,
    require_same_audit_log,
    require_same_documents,
    require_same_events,
)
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.frame_format import EncodedBatch
from sealyard.storage.generation import load, verify
from sealyard.storage.journal import write_generation

STORE_NOTE = """\
Store and audit log of this workspace up to generation {generation} of the store. They were moved to a database, which
contains everything in them. Sealyard does not open them again, and refuses them as an older state if they are put back.
Remove this folder when you no longer want to keep it.
"""


class FolderTarget:
    """:class:`~sealyard.storage.content.CopyTarget` in the folder of the workspace."""

    def __init__(self, store: Path, audit: Path, credentials: StoreCredentials, *, has_unfinished_copy: bool) -> None:
        """``has_unfinished_copy``: whether the files in these folders are of an earlier run of the move."""
        self._store = store
        self._audit = audit
        self._credentials = credentials
        self._has_unfinished_copy = has_unfinished_copy

    def check(self) -> None:
        if self._has_unfinished_copy:
            return
        for folder in (self._store, self._audit):
            if folder.exists() and any(folder.iterdir()):
                raise ConflictError(
                    f"{escape_text(str(folder))} contains files, although the workspace is in a database.",
                    "Find out what they are, and move them away.",
                )

    def write(self, content: WorkspaceContent) -> None:
        self.check()
        with _translate_errors("writing the copy"):
            for folder in (self._store, self._audit):
                if folder.exists():
                    shutil.rmtree(folder)
                make_private_dir(folder)
            write_audit_log(self._audit, content.audit)
            generation = content.generation
            carry_over = EncodedBatch(
                audit=[msgspec.Raw(line) for line in self._last_entries()],
                events=[msgspec.Raw(event) for event in content.events],
            )
            write_generation(
                self._store, self._credentials, generation.number + 1, generation.mac, content.tables, carry_over
            )

    def verify(self, content: WorkspaceContent) -> None:
        with _translate_errors("reading the copy"):
            loaded = load(self._store)
            verify(self._store, loaded, self._credentials)
            if (loaded.position.generation, loaded.header.previous_mac) != (
                content.generation.number + 1,
                content.generation.mac,
            ):
                raise differing_copy_error("its generation does not follow that of the source")
            require_same_documents(content.tables, iter_documents(loaded.tables))
            require_same_events(content.events, loaded.events)
            require_same_audit_log(content.audit, AuditReader(self._audit))

    def _last_entries(self) -> Iterator[bytes]:
        """Yield the newest audit entry, by which a store that is older than the log is recognized."""
        newest_line = last_line(self._audit)
        if newest_line is not None:
            yield newest_line[1]


def retire_files(folders: tuple[Path, Path], retired_folder: Path, note: str) -> None:
    """Move ``folders`` into ``retired_folder``, with a note what they are. Idempotent.

    Empty folders replace them, as in a workspace that was created in the place to which they were moved. Raises
    :class:`StorageError` if the disk refuses an operation.
    """
    with _translate_errors("moving the old files away"):
        make_private_dir(retired_folder)
        atomic.write_synced(retired_folder / "README.txt", [note.encode()])
        for folder in folders:
            retired_path = retired_folder / folder.name
            if folder.exists() and not retired_path.exists():
                atomic.rename(folder, retired_path)
            make_private_dir(folder)
            atomic.sync_folder(folder.parent)
        atomic.sync_folder(retired_folder)


@contextmanager
def _translate_errors(operation: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise atomic.storage_error(error, operation) from error
