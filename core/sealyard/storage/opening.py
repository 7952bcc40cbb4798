"""Open the store for writing in two steps, so that the first one can run before the key store is open.

The first step locks the journal and loads the newest generation. The second one verifies it with the key of the store,
and with the generation that the worker state has recorded; only then it repairs the files.

A new generation is recorded after it was completed, and before another one is written. So at the start the newest
generation is the recorded one, or the next one if a crash came between the two steps. The next one is accepted because
its chain begins with the MAC of the recorded one: it can only have been written by a process that had the key and this
generation. Everything else was put there by another program, and is refused:

- an older generation, or another one with the recorded number;
- a generation without MACs, once a generation was recorded;
- no store at all, once a generation was recorded.

Recording first would be no better: a process that cannot complete the generation, because the disk refuses the rename,
would have to stop, since the recorded generation does not exist.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Self

from sealyard.fs import atomic
from sealyard.fs.private import make_private_dir
from sealyard.model.errors import StoreCorruptedError
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.frame_chain import FrameChain, StoreCredentials
from sealyard.storage.generation import (
    LEGACY_FORMAT,
    LoadedGeneration,
    VerifiedChain,
    journal_path,
    load,
    newest_generation,
    verify,
)
from sealyard.storage.journal import (
    FileJournal,
    create_store,
    lock_journal,
    quarantine_torn_tail,
    remove_other_generations,
)
from sealyard.storage.pending_log import PendingRecords

_RESTORE_HINT = "Restore the whole workspace from one backup. Nothing was changed."


class OpenedStore:
    """The result of opening: the journal and the documents.

    ``torn_file``: the file to which the torn end of the journal was moved. ``was_migrated``: whether the store was
    written by an earlier version, without MACs.
    """

    def __init__(
        self, journal: FileJournal, loaded: LoadedGeneration, torn_file: Path | None, was_migrated: bool
    ) -> None:
        self.journal = journal
        self.loaded = loaded
        self.torn_file = torn_file
        self.was_migrated = was_migrated


class StoreOpening:
    """A store after the first step: locked and loaded, but not verified. Call :meth:`finish` or :meth:`cancel`."""

    def __init__(self, folder: Path, fd: int | None, loaded: LoadedGeneration | None) -> None:
        """Wrap the locked journal; both are None if there is no store. Use :meth:`start`."""
        self.folder = folder
        self._fd = fd
        self._loaded = loaded

    @classmethod
    def start(cls, folder: Path) -> Self:
        """Lock and load the newest generation, if there is one, without changing a file.

        Raises :class:`WorkspaceLockedError` if another process has the journal open for writing,
        :class:`StoreCorruptedError` if a file is damaged, :class:`WorkspaceError` if the store has a newer format, and
        :class:`StorageError` if the disk refuses an operation.
        """
        try:
            make_private_dir(folder)
            fd = _open_newest_journal(folder)
            if fd is None:
                return cls(folder, None, None)
            try:
                return cls(folder, fd, load(folder))
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise atomic.storage_error(error, "opening the store") from error

    def finish(self, credentials: StoreCredentials, recorded: StoreGeneration | None) -> OpenedStore:
        """Verify the store, then repair it after a crash, and migrate it if an earlier version wrote it.

        Creates an empty store if there is none. ``recorded``: the generation that the worker state has recorded.
        Raises :class:`StoreCorruptedError` if the store was changed, and :class:`StorageError` if the disk refuses an
        operation.
        """
        try:
            return self._finish(credentials, recorded)
        except OSError as error:
            self.cancel()
            raise atomic.storage_error(error, "opening the store") from error
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        """Release the journal."""
        if self._fd is not None:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = None

    def _finish(self, credentials: StoreCredentials, recorded: StoreGeneration | None) -> OpenedStore:
        if self._loaded is None:
            if recorded is not None:
                raise StoreCorruptedError("The store of the workspace was removed.", _RESTORE_HINT)
            create_store(self.folder, credentials)
            self._fd, self._loaded = _open_newest_journal(self.folder), load(self.folder)
        assert self._fd is not None
        loaded = self._loaded
        is_legacy = loaded.header.format == LEGACY_FORMAT
        if is_legacy:
            verified = _begin_legacy_chain(loaded, credentials, recorded)
        else:
            verified = verify(self.folder, loaded, credentials)
            _require_current(loaded, verified.generation_mac, recorded)
        torn_file = quarantine_torn_tail(self.folder, self._fd, loaded) if loaded.torn_tail else None
        remove_other_generations(self.folder, loaded.position.generation)
        journal = FileJournal(self.folder, self._fd, loaded, verified, credentials)
        self._fd = None  # the journal owns it
        if is_legacy:
            _migrate(journal, loaded)
        return OpenedStore(journal, loaded, torn_file, is_legacy)


def _open_newest_journal(folder: Path) -> int | None:
    generation = newest_generation(folder)
    if not generation:
        return None
    fd = os.open(journal_path(folder, generation), os.O_RDWR | os.O_APPEND)
    try:
        # Lock the journal before the torn end is removed: it may be a commit that another process is writing.
        lock_journal(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _begin_legacy_chain(
    loaded: LoadedGeneration, credentials: StoreCredentials, recorded: StoreGeneration | None
) -> VerifiedChain:
    """Return a chain for a store without MACs, from which the next generation follows."""
    if recorded is not None:
        raise StoreCorruptedError(
            f"The store was replaced: generation {loaded.position.generation} has no MACs, but the worker state has"
            f" recorded generation {recorded.number}, which has. An earlier version of Sealyard, or another program,"
            " wrote it.",
            _RESTORE_HINT,
        )
    return VerifiedChain(FrameChain.begin(credentials, loaded.position.generation, ""), "")


def _require_current(loaded: LoadedGeneration, generation_mac: str, recorded: StoreGeneration | None) -> None:
    """Check that a verified generation is the recorded one or follows it."""
    number = loaded.position.generation
    if recorded is None or (number, generation_mac) == (recorded.number, recorded.mac):
        return
    if number == recorded.number + 1 and loaded.header.previous_mac == recorded.mac:
        return
    if number < recorded.number:
        problem = f"It has generation {number}, but the worker state has recorded generation {recorded.number}"
        raise StoreCorruptedError(f"The store was put back to an older state. {problem}.", _RESTORE_HINT)
    raise StoreCorruptedError(
        f"The store was replaced: its generation {number} does not follow generation {recorded.number}, which the"
        " worker state has recorded.",
        _RESTORE_HINT,
    )


def _migrate(journal: FileJournal, loaded: LoadedGeneration) -> None:
    """Write the content of a store without MACs as the next generation, which has MACs."""
    try:
        compaction = journal.start_compaction()
        compaction.write_snapshot(loaded.tables)
        compaction.finish(PendingRecords(loaded.audit, loaded.events).build_carry_over(-1))
    except BaseException:
        journal.close()
        raise
