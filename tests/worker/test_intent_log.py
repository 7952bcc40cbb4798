"""Tests of the intent log, in which the worker records each digest before it signs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from sealyard.model.errors import ConflictError, StorageError
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
