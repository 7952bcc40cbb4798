"""Tests of the intent log, in which the worker records each digest before it signs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from sealyard.fs.locks import hold_lock
from sealyard.model.errors import ConcurrentWriterError, ConflictError, StorageError
from sealyard.worker import intent_log
from sealyard.worker.intent_log import IntentLog

ONE, OTHER = "11" * 32, "22" * 32


def record(log: IntentLog, task: str, sha256: str, *, has_intent: bool = False) -> None:
    asyncio.run(log.record(task, 1, sha256, has_intent=has_intent))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker" / "intents.jsonl"


def test_same_digest_is_accepted_again(path: Path) -> None:
    record(IntentLog(path), "t1", ONE)
    record(IntentLog(path), "t1", ONE, has_intent=True)
    lines = [msgspec.json.decode(each) for each in path.read_bytes().splitlines()]
    assert [(each["task"], each["sha256"]) for each in lines] == [("t1", ONE), ("t1", ONE)]


def test_second_digest_is_rejected(path: Path) -> None:
    record(IntentLog(path), "t1", ONE)
    before = path.read_bytes()
    with pytest.raises(ConflictError, match="t1"):
        record(IntentLog(path), "t1", OTHER, has_intent=True)
    assert path.read_bytes() == before


def test_other_task_may_sign_other_digest(path: Path) -> None:
    record(IntentLog(path), "t1", ONE)
    record(IntentLog(path), "t11", OTHER, has_intent=True)
    assert len(path.read_bytes().splitlines()) == 2


def test_concurrent_intents_are_logged_once(path: Path) -> None:
    async def record_concurrently() -> None:
        log = IntentLog(path)
        await asyncio.gather(*(log.record(f"t{number}", 1, ONE, has_intent=False) for number in range(50)))

    asyncio.run(record_concurrently())
    task_ids = [msgspec.json.decode(each)["task"] for each in path.read_bytes().splitlines()]
    assert sorted(task_ids) == sorted(f"t{number}" for number in range(50))


def test_torn_line_is_ignored(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"task":"t1","fencingToken":1,"sha25')
    record(IntentLog(path), "t1", ONE, has_intent=True)
    record(IntentLog(path), "t1", ONE, has_intent=True)
    with pytest.raises(ConflictError):
        record(IntentLog(path), "t1", OTHER, has_intent=True)


def test_damaged_line_of_task_prevents_signing(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"task":"t1","fencingToken":1,"sha256:"' + ONE.encode() + b'","at":1.0}\n')
    with pytest.raises(StorageError):
        record(IntentLog(path), "t1", ONE, has_intent=True)


def test_record_waits_for_append_of_other_worker(path: Path) -> None:
    async def record_during_append() -> bool:
        log = IntentLog(path)
        with path.open("ab") as file, hold_lock(file.fileno()):
            pending_record = asyncio.create_task(log.record("t2", 1, ONE, has_intent=False))
            file.write(b'{"task":"t1","fencingToken":1,"sha25')
            file.flush()
            done, _ = await asyncio.wait({pending_record}, timeout=0.1)
        await pending_record
        return bool(done)

    path.parent.mkdir()
    assert not asyncio.run(record_during_append())
    assert msgspec.json.decode(path.read_bytes().splitlines()[1])["task"] == "t2"


@pytest.mark.parametrize("replace", [True, False])
def test_missing_records_prevent_signing(path: Path, tmp_path: Path, replace: bool) -> None:
    log = IntentLog(path)
    record(log, "t1", ONE)
    record(IntentLog(path), "t2", ONE)
    if replace:
        (tmp_path / "copy").write_bytes(path.read_bytes())
        (tmp_path / "copy").replace(path)
    else:
        path.write_bytes(b"")
    before = path.read_bytes()
    with pytest.raises(ConcurrentWriterError, match=r"intents\.jsonl"):
        record(log, "t3", ONE)
    assert path.read_bytes() == before


def test_name_of_new_log_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced_folders: list[Path] = []
    monkeypatch.setattr(intent_log, "sync_folder", synced_folders.append)
    log = IntentLog(path)
    record(log, "t1", ONE)
    record(log, "t2", ONE)
    assert synced_folders == [path.parent]
