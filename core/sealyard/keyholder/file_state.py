"""The worker state in a file: append-only, authenticated, and synced before a key is used."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Self

from sealyard.fs.atomic import storage_error, sync, sync_folder, truncate, write_all
from sealyard.fs.locks import wait_for_stale_lock
from sealyard.fs.private import make_private_dir
from sealyard.fs.sole_writer import require_sole_writer
from sealyard.keyholder.legacy_intents import read_legacy_intents
from sealyard.keyholder.state import (
    Intent,
    SignedCheckpoint,
    check_checkpoint,
    check_intent,
    check_store_generation,
)
from sealyard.keyholder.state_records import (
    MAC_DIGITS,
    AnchorRecord,
    AuditedRecord,
    CheckpointRecord,
    DamagedRecordError,
    EpochRecord,
    IntentRecord,
    RecordChain,
    StateRecord,
    StoreRecord,
    count_intents_after,
    decode_record,
    parse_records,
)
from sealyard.keys.master_key import OpenedKeyStore
from sealyard.model.errors import SealyardError, WorkerStateError
from sealyard.model.key_holder_messages import (
    RecentIntent,
    RecoveryDetails,
    StateEvent,
    StatePosition,
    StoreGeneration,
    WorkerStateInfo,
)
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspacePaths

EPOCH_BYTES = 16


class FileWorkerState:
    """Implements :class:`sealyard.keyholder.state.WorkerState` with one file, which it locks while it is open."""

    def __init__(self, path: Path, fd: int, chain: RecordChain, records: Sequence[StateRecord], length: int) -> None:
        """Wrap an open file. Use :meth:`open`."""
        self._path = path
        self._fd = fd
        self._chain = chain
        self._length = length
        self._intents: dict[str, Intent] = {}
        """The latest intent of each task."""
        self._recent_intents: dict[str, RecentIntent] = {}
        self._checkpoint: SignedCheckpoint | None = None
        self._store_generation: StoreGeneration | None = None
        self._epochs: list[str] = []
        self._anchor_location: str | None = None
        self._unaudited: list[StateEvent] = []
        self._indexed_records = 0
        self._failed_write = b""
        for record in records:
            self._index(record)

    @classmethod
    def open(
        cls, paths: WorkspacePaths, workspace_id: str, key_store: OpenedKeyStore, *, accepts_other_epoch: bool = False
    ) -> Self:
        """Open and verify the state, or create it if the key store has none yet.

        A new state takes over the intents that an earlier version has logged. ``accepts_other_epoch``: whether the key
        store may know an epoch that the state does not have, because an older state was restored.

        Raises :class:`WorkerStateError` if the state is missing, damaged, changed, or does not belong to the key store,
        and :class:`StorageError` if the file cannot be read or written.
        """
        path = paths.worker_state
        try:
            make_private_dir(path.parent)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise storage_error(error, "opening the worker state") from error
        try:
            state = cls._load(path, fd, paths, workspace_id, key_store)
            if not accepts_other_epoch:
                state._require_epoch(key_store)
            return state
        except OSError as error:
            os.close(fd)
            raise storage_error(error, "reading the worker state") from error
        except BaseException:
            os.close(fd)
            raise

    @classmethod
    def _load(cls, path: Path, fd: int, paths: WorkspacePaths, workspace_id: str, key_store: OpenedKeyStore) -> Self:
        if not wait_for_stale_lock(fd):
            raise WorkerStateError(
                "Another key holder has the worker state open.", "End the other processes that use the workspace."
            )
        with os.fdopen(os.dup(fd), "rb") as file:
            content = file.read()
        try:
            parsed = parse_records(content, RecordChain.from_master_key(key_store.master_key))
        except DamagedRecordError as error:
            raise _changed_error(path, f"Record {error.number} is damaged or was changed.") from None
        state = cls(path, fd, parsed.chain, parsed.records, parsed.length)
        if not parsed.records and key_store.load_state_epoch() is None:
            state._create(paths, workspace_id, key_store)
            return state
        state._require_workspace(parsed.records, workspace_id)
        if parsed.missing_line_feed:
            write_all(fd, b"\n")
            state._length += 1
        if len(content) != state._length:
            truncate(fd, state._length)
        sync(fd)
        return state

    @property
    def info(self) -> WorkerStateInfo:
        checkpoint = self._checkpoint or SignedCheckpoint(size=0, root="")
        return WorkerStateInfo(
            size=checkpoint.size,
            root=checkpoint.root,
            recent_intents=tuple(self._recent_intents.values()),
            unaudited=tuple(self._unaudited),
        )

    @property
    def position(self) -> StatePosition:
        """The end of the state."""
        info = self.info
        return StatePosition(
            epoch=self._epochs[-1], records=self._chain.seq, audit_size=info.size, audit_root=info.root
        )

    @property
    def last_mac(self) -> str:
        """The HMAC of the last record."""
        return self._chain.last_mac

    @property
    def anchor_location(self) -> str | None:
        """Where the freshness anchor is kept, None if the state has no anchor yet."""
        return self._anchor_location

    def has_epoch(self, key_store: OpenedKeyStore) -> bool:
        """Return whether the state has the epoch that the key store knows."""
        return key_store.load_state_epoch() in (None, *self._epochs)

    def find_mac(self, number: int) -> str | None:
        """Return the HMAC of record ``number``, counted from 1; None if there is no such record."""
        with self._path.open("rb") as file:
            line = next(islice(file, number - 1, None), None)
        return None if line is None else line[:MAC_DIGITS].decode()

    def count_intents_after(self, audit_size: int) -> int:
        """Return the number of intents that were recorded after the last checkpoint of at most this size."""
        with self._path.open("rb") as file:
            return count_intents_after((decode_record(line) for line in file), audit_size)

    def record_intents(self, intents: Sequence[Intent]) -> list[SealyardError | None]:
        results: list[SealyardError | None] = []
        accepted: dict[str, Intent] = {}
        for intent in intents:
            try:
                check_intent(intent, accepted.get(intent.task_id, self._intents.get(intent.task_id)))
            except SealyardError as error:
                results.append(error)
            else:
                accepted[intent.task_id] = intent
                results.append(None)
        self._append([_to_record(intent) for intent, result in zip(intents, results, strict=True) if result is None])
        return results

    def record_checkpoint(self, checkpoint: SignedCheckpoint, proof: Sequence[bytes]) -> None:
        if check_checkpoint(checkpoint, self._checkpoint, proof):
            self._append([CheckpointRecord(size=checkpoint.size, root=checkpoint.root, at=time.time())])

    @property
    def store_generation(self) -> StoreGeneration | None:
        return self._store_generation

    def record_store_generation(self, generation: StoreGeneration) -> None:
        if check_store_generation(generation, self._store_generation):
            self._append([StoreRecord(generation=generation.number, mac=generation.mac, at=time.time())])

    def record_audited(self) -> None:
        if self._unaudited:
            self._append([AuditedRecord()])

    @property
    def flush_delay(self) -> None:
        """None: nothing is deferred."""

    def flush(self) -> None:
        """Do nothing, because nothing is deferred."""

    def record_anchor(self, location: str, *, initial: bool = False) -> None:
        """Record where the freshness anchor is kept. ``initial``: whether the workspace was just created."""
        self._append([AnchorRecord(location=location, initial=initial)])

    def start_epoch(self, workspace_id: str, recovery: RecoveryDetails, key_store: OpenedKeyStore) -> None:
        """Start a new epoch, in which audit log and store continue from the checkpoint and generation in ``recovery``.

        The intents of the old epoch stay in force.
        """
        epoch = secrets.token_hex(EPOCH_BYTES)
        self._append([EpochRecord(epoch=epoch, workspace=workspace_id, recovery=recovery)])
        key_store.save_state_epoch(epoch)

    def close(self) -> None:
        os.close(self._fd)

    def _create(self, paths: WorkspacePaths, workspace_id: str, key_store: OpenedKeyStore) -> None:
        """Write the first records, and remember in the key store that there is a state from now on."""
        intents = read_legacy_intents(paths.intents) if paths.intents.exists() else None
        migrated = None if intents is None else len(intents)
        epoch = secrets.token_hex(EPOCH_BYTES)
        first_record = EpochRecord(epoch=epoch, workspace=workspace_id, migrated=migrated)
        self._append([first_record, *(_to_record(intent) for intent in intents or ())])
        sync_folder(self._path.parent)
        key_store.save_state_epoch(epoch)
        if intents is not None:
            paths.intents.unlink()
            sync_folder(self._path.parent)

    def _require_workspace(self, records: Sequence[StateRecord], workspace_id: str) -> None:
        if not records:
            raise _changed_error(self._path, "It is missing or empty, although something was signed before.")
        first = records[0]
        if not isinstance(first, EpochRecord) or first.workspace != workspace_id:
            raise _other_key_store_error(self._path)

    def _require_epoch(self, key_store: OpenedKeyStore) -> None:
        if not self.has_epoch(key_store):
            raise _other_key_store_error(self._path)
        if key_store.load_state_epoch() != self._epochs[-1]:
            # A crash came between the record of the epoch and the entry in the key store.
            key_store.save_state_epoch(self._epochs[-1])

    def _append(self, records: Sequence[StateRecord]) -> None:
        """Append records durably. If that fails, the file and the index are as before."""
        if not records:
            return
        chain = self._chain.copy()
        lines = b"".join(chain.append(record) for record in records)
        try:
            require_sole_writer(self._path, self._fd, self._length, self._failed_write)
            if self._failed_write:
                truncate(self._fd, self._length)
            self._failed_write = lines
            write_all(self._fd, lines)
            sync(self._fd)
        except OSError as error:
            raise storage_error(error, "writing the worker state") from error
        self._failed_write = b""
        self._chain = chain
        self._length += len(lines)
        for record in records:
            self._index(record)

    def _index(self, record: StateRecord) -> None:
        number = self._indexed_records = self._indexed_records + 1
        match record:
            case EpochRecord(epoch=epoch, migrated=migrated, recovery=recovery):
                self._epochs.append(epoch)
                if migrated is not None:
                    self._unaudited.append(StateEvent(record=number, migrated_intents=migrated))
                if recovery is not None:
                    continued = SignedCheckpoint(size=recovery.audit_size, root=recovery.audit_root)
                    self._checkpoint = continued if continued.size else None
                    self._store_generation = recovery.generation or self._store_generation
                    self._recent_intents = {}
                    self._unaudited.append(StateEvent(record=number, recovery=recovery))
            case AnchorRecord(location=location, initial=initial):
                self._anchor_location = location
                if not initial:
                    self._unaudited.append(StateEvent(record=number, anchor=location))
            case AuditedRecord():
                self._unaudited.clear()
            case IntentRecord(task=task, fencing_token=fencing_token, sha256=sha256):
                self._intents[task] = Intent(task_id=task, fencing_token=fencing_token, sha256=sha256)
                if self._checkpoint is not None:  # the tasks of intents of an earlier version may have been removed
                    self._recent_intents[task] = RecentIntent(task_id=task, fencing_token=fencing_token)
            case CheckpointRecord(size=size, root=root):
                self._checkpoint = SignedCheckpoint(size=size, root=root)
                self._recent_intents = {}
            case StoreRecord(generation=number, mac=mac):
                self._store_generation = StoreGeneration(number=number, mac=mac)


def _to_record(intent: Intent) -> IntentRecord:
    return IntentRecord(task=intent.task_id, fencing_token=intent.fencing_token, sha256=intent.sha256, at=time.time())


def _other_key_store_error(path: Path) -> WorkerStateError:
    return _changed_error(path, "It does not belong to the key store of this workspace.")


def _changed_error(path: Path, reason: str) -> WorkerStateError:
    return WorkerStateError(
        f"The worker state, {escape_text(str(path))}, is not the one that was written. {reason} Nothing is signed.",
        "Find out which program changed the workspace. Restore the whole workspace from a backup, not this file alone.",
    )
