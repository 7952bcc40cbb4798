"""Attacks on the files of a workspace, by a person who can write the folder and knows no key.

E9: remove the checkpoints of the audit log and rewrite its entries, so that the next start signs the false history.
E14: put the store back to an older state, for example before a rejection, and leave the audit log as it is.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sealyard.audit.encoding import encode_entry
from sealyard.audit.merkle import leaf_hash, merkle_root
from sealyard.audit.segment_files import read_notes
from sealyard.client.engine_handle import EngineHandle
from sealyard.model.audit import GENESIS_HASH, AuditEntry
from sealyard.model.errors import AuditVerificationError
from tests.support.client_kinds import ADMIN, AUDITOR
from tests.support.workspace_files import open_engine

SEGMENT, NOTES, KEY = "segment-000000.jsonl", "checkpoints.txt", "audit-key.pem"


def rewrite_entry(folder: Path, changed_seq: int = 2) -> None:
    """Change the message of an entry, and correct the hash chain of all later ones."""
    path = folder / "audit" / SEGMENT
    previous, lines = GENESIS_HASH, []
    for line in path.read_bytes().splitlines():
        entry = msgspec.structs.replace(msgspec.json.decode(line, type=AuditEntry), previous=previous)
        if entry.seq == changed_seq:
            entry = msgspec.structs.replace(entry, message="nothing happened here")
        lines.append(encode_entry(entry))
        previous = leaf_hash(lines[-1]).hex()
    path.write_bytes(b"".join(line + b"\n" for line in lines))


def remove(folder: Path, *names: str) -> None:
    for name in names:
        (folder / "audit" / name).unlink()


def forge_checkpoint(folder: Path) -> None:
    """Write the root of the rewritten entries into the newest checkpoint, whose signature is then wrong."""
    *notes, note = read_notes(folder / "audit")
    root = merkle_root([leaf_hash(line) for line in (folder / "audit" / SEGMENT).read_bytes().splitlines()])
    origin, size, _, *rest = note.split("\n")
    forged_note = "\n".join((origin, size, base64.b64encode(root).decode(), *rest))
    (folder / "audit" / NOTES).write_text("".join((*notes, forged_note)))


async def start(folder: Path) -> None:
    async with open_engine(folder, work=False):
        pass


async def verify(folder: Path) -> None:
    engine = await EngineHandle.open_read_only(folder)
    try:
        await engine.client(AUDITOR).verify_audit()
    finally:
        await engine.close()


def require_refusal(folder: Path, message: str) -> None:
    """Check that neither the engine starts nor the log verifies, and that the attempts sign no checkpoint."""
    notes = (folder / "audit" / NOTES).read_bytes() if (folder / "audit" / NOTES).exists() else b""
    for attempt in (start, verify):
        with pytest.raises(AuditVerificationError, match=message):
            asyncio.run(attempt(folder))
    assert ((folder / "audit" / NOTES).read_bytes() if notes else b"") == notes


def test_untouched_workspace_starts_and_verifies(folder: Path) -> None:
    asyncio.run(start(folder))
    asyncio.run(verify(folder))


@pytest.mark.parametrize("names", [(NOTES,), (NOTES, KEY)])
def test_e9_removed_checkpoints_are_refused(folder: Path, names: tuple[str, ...]) -> None:
    rewrite_entry(folder)
    remove(folder, *names)
    require_refusal(folder, "checkpoints of the audit log were removed")


def test_e9_emptied_checkpoints_are_refused(folder: Path) -> None:
    rewrite_entry(folder)
    (folder / "audit" / NOTES).write_bytes(b"")
    require_refusal(folder, "checkpoints of the audit log were removed")


def test_e9_removed_log_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "audit")
    require_refusal(folder, "audit log of the workspace was removed")


def test_e9_rewritten_entries_are_refused(folder: Path) -> None:
    rewrite_entry(folder)
    require_refusal(folder, "not match")


def test_e9_forged_checkpoint_is_refused(folder: Path) -> None:
    rewrite_entry(folder)
    forge_checkpoint(folder)
    for attempt in (start, verify):
        with pytest.raises(AuditVerificationError):
            asyncio.run(attempt(folder))


def test_e9_forged_checkpoint_is_refused_by_the_worker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signature of the newest checkpoint is verified even if the store discloses nothing."""
    monkeypatch.setattr("sealyard.engine.audit.checkpointing.find_gap", lambda *_: None)
    rewrite_entry(folder)
    forge_checkpoint(folder)
    with pytest.raises(AuditVerificationError, match=r"signature of the checkpoint of size .* is wrong"):
        asyncio.run(start(folder))


def test_e9_entries_added_after_the_last_checkpoint_are_refused(folder: Path) -> None:
    path = folder / "audit" / SEGMENT
    last = msgspec.json.decode(path.read_bytes().splitlines()[-1], type=AuditEntry)
    false_entry = msgspec.structs.replace(
        last, seq=last.seq + 1, previous=leaf_hash(encode_entry(last)).hex(), message="a false entry"
    )
    with path.open("ab") as file:
        file.write(encode_entry(false_entry) + b"\n")
    require_refusal(folder, "The store is older than the audit log")


# ---- E14: an older store


async def add_subject(folder: Path) -> None:
    async with open_engine(folder, work=False) as engine:
        await engine.client(ADMIN).add_subject("USER:later")


async def compact(folder: Path) -> None:
    async with open_engine(folder, work=False) as engine:
        await compact_store(engine)


async def compact_store(engine: EngineHandle) -> None:
    loop = engine.engine._checkpoint_loop
    assert loop is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealyard.storage.group_commit.GroupCommitter.needs_compaction", True)
        await engine.run(loop.checkpoint())


def restore_older_store(folder: Path, prepare: Callable[[Path], None] = lambda _: None) -> None:
    prepare(folder)
    backup = folder.with_name("store-backup")
    shutil.copytree(folder / "store", backup)
    asyncio.run(add_subject(folder))
    shutil.rmtree(folder / "store")
    backup.rename(folder / "store")


def test_e14_older_store_is_refused(folder: Path) -> None:
    restore_older_store(folder)
    require_refusal(folder, "The store is older than the audit log")


def test_e14_older_store_is_refused_after_compaction(folder: Path) -> None:
    restore_older_store(folder, lambda path: asyncio.run(compact(path)))
    require_refusal(folder, "The store is older than the audit log")


def test_e14_older_log_with_compacted_store_is_refused(folder: Path) -> None:
    backup = folder.with_name("audit-backup")
    shutil.copytree(folder / "audit", backup)
    asyncio.run(add_subjects_and_compact(folder))
    shutil.rmtree(folder / "audit")
    backup.rename(folder / "audit")
    require_refusal(folder, r"Entry .* is missing: the audit log ends after")


async def add_subjects_and_compact(folder: Path) -> None:
    async with open_engine(folder, work=False) as engine:
        for subject in ("USER:later", "USER:last"):
            await engine.client(ADMIN).add_subject(subject)
        await compact_store(engine)


def test_e14_store_of_another_history_is_refused(folder: Path) -> None:
    """The store of a copy in which something else happened has the right number of entries, but other ones."""
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    asyncio.run(add_subject(folder))
    asyncio.run(add_subject(copy))
    shutil.rmtree(folder / "store")
    (copy / "store").rename(folder / "store")
    require_refusal(folder, "is not the entry that the store committed")
