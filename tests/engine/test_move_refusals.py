"""Test what a move refuses, and that the source stays usable then."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from sealyard.engine.move_places import require_supported
from sealyard.engine.workspace import load_metadata
from sealyard.fs import atomic
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    AuditVerificationError,
    ConflictError,
    DiskFullError,
    InvalidInputError,
    SealyardError,
    StorageError,
    StoreCorruptedError,
    WorkspaceError,
    WorkspaceLockedError,
)
from sealyard.model.hints import HintCode
from sealyard.model.moves import MoveStep
from sealyard.storage.documents import WriteBatch
from sealyard.storage.postgres.connection import Database
from sealyard.storage.postgres.opening import PgStoreOpening
from tests.support.engine_harness import ADMIN, EngineHarness
from tests.support.limits import TIMEOUT
from tests.support.moves import build_move, move, read_content, require_continued
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.file_store]


async def require_usable(harness: EngineHarness) -> None:
    """Check that the source can be opened and used."""
    await harness.open(work=False)
    await harness.add_subject("USER:later")


def on_step(step: MoveStep, action: Callable[[], object]) -> Callable[[MoveStep], None]:
    def call(reached: MoveStep) -> None:
        if reached is step:
            action()

    return call


def run_in_thread(action: Callable[[], None]) -> None:
    """Run an action that needs an event loop of its own."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(action).result(TIMEOUT)


@pytest.mark.parametrize("is_in_database", [False, True])
async def test_running_engine_is_refused(harness: EngineHarness, database: TestDatabase, is_in_database: bool) -> None:
    if is_in_database:
        await move(harness, database)
    with pytest.raises(WorkspaceLockedError):
        await build_move(harness, None if is_in_database else database).run()
    await harness.add_subject("USER:later")


async def test_two_moves_at_once_are_refused(harness: EngineHarness, database: TestDatabase) -> None:
    await harness.close()
    errors: list[BaseException] = []

    def start_second_move() -> None:
        coroutine = build_move(harness, database).run()
        with pytest.raises(WorkspaceLockedError) as caught:
            coroutine.send(None)
        errors.append(caught.value)

    await build_move(harness, database, on_step(MoveStep.COPIED, start_second_move)).run()
    assert len(errors) == 1


@pytest.mark.parametrize("is_finished", [False, True])
async def test_move_of_a_copied_folder_is_refused(
    harness: EngineHarness, database: TestDatabase, tmp_path: Path, is_finished: bool
) -> None:
    """Only one of two copies of a folder gets into the database."""
    await harness.close()
    copy = EngineHarness(tmp_path / "copy", harness.shelf.copy(harness.clock), harness.clock)
    shutil.copytree(harness.paths.root, copy.paths.root)

    def move_copy() -> None:
        with pytest.raises(ConflictError, match="already contains this workspace"):
            asyncio.run(build_move(copy, database).run())

    step = MoveStep.FINISHED if is_finished else MoveStep.VERIFIED
    await build_move(harness, database, on_step(step, partial(run_in_thread, move_copy))).run()
    await require_usable(copy)
    await copy.close()
    harness.database = database
    await harness.open(work=False)


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE sealyard.document SET body = '{}' WHERE kind = 'policy' OR kind = 'subjects'",
        "DELETE FROM sealyard.document WHERE kind = 'subjects'",
        "INSERT INTO sealyard.document SELECT workspace, kind, id || 'x', body, position, mac FROM sealyard.document",
        "UPDATE sealyard.workspace SET generation = generation + 1",
        "UPDATE sealyard.workspace SET next_seq = next_seq - 1",
        "UPDATE sealyard.event SET body = '{}' WHERE cursor = 1",
        "DELETE FROM sealyard.audit_entry WHERE seq = 3",
        "UPDATE sealyard.audit_entry SET line = '{}' WHERE seq = 3",
        "UPDATE sealyard.audit_checkpoint SET note = note || 'x'",
        "DELETE FROM sealyard.audit_checkpoint WHERE size > 0",
        "DELETE FROM sealyard.audit_key",
        "DELETE FROM sealyard.event; DELETE FROM sealyard.document; DELETE FROM sealyard.audit_entry;"
        " DELETE FROM sealyard.audit_checkpoint; DELETE FROM sealyard.audit_key; DELETE FROM sealyard.workspace",
    ],
)
async def test_rows_forged_during_the_move_are_refused(
    harness: EngineHarness, database: TestDatabase, forgery: str
) -> None:
    await harness.close()
    forge = on_step(MoveStep.COPIED, lambda: database.execute(forgery))
    with pytest.raises((StorageError, StoreCorruptedError, AuditVerificationError)):
        await build_move(harness, database, forge).run()
    assert load_metadata(harness.paths).database is msgspec.UNSET
    await require_usable(harness)


async def test_file_forged_during_the_move_is_refused(harness: EngineHarness, database: TestDatabase) -> None:
    await move(harness, database)
    await harness.close()

    def forge() -> None:
        (snapshot,) = harness.paths.store.glob("snapshot-*.log")
        snapshot.write_bytes(snapshot.read_bytes().replace(b"gateway", b"getaway"))

    with pytest.raises(StoreCorruptedError):
        await build_move(harness, None, on_step(MoveStep.COPIED, forge)).run()
    await require_usable(harness)


@pytest.mark.parametrize("folder", ["store", "audit"])
async def test_damaged_source_is_refused(harness: EngineHarness, database: TestDatabase, folder: str) -> None:
    await harness.close()
    path = next(
        path for path in (harness.paths.root / folder).iterdir() if path.name.startswith(("journal", "segment"))
    )
    path.write_bytes(path.read_bytes().replace(b"USER:dev", b"USER:bad", 1))
    with pytest.raises((StoreCorruptedError, AuditVerificationError)):
        await build_move(harness, database).run()
    assert database.execute("SELECT count(*) FROM sealyard.workspace") == [(0,)]


async def test_changed_rows_of_the_source_are_refused(harness: EngineHarness, database: TestDatabase) -> None:
    await move(harness, database)
    await harness.close()
    database.execute("UPDATE sealyard.audit_entry SET line = '{}' WHERE seq = 3")
    with pytest.raises(AuditVerificationError):
        await build_move(harness, None).run()
    assert list(harness.paths.store.iterdir()) == []


async def test_target_without_tables_is_refused(harness: EngineHarness, database: TestDatabase) -> None:
    await harness.close()
    empty = database.server.create_database("template0")
    for prepare in ("plan", "run"):
        with pytest.raises(WorkspaceError) as caught:
            await getattr(build_move(harness, empty), prepare)()
        assert caught.value.structured_hint.code == HintCode.UPGRADE_DATABASE
    assert not harness.paths.move.exists()
    await require_usable(harness)


async def test_files_in_the_target_folder_are_kept(harness: EngineHarness, database: TestDatabase) -> None:
    await move(harness, database)
    await harness.close()
    (harness.paths.store / "important").write_bytes(b"")
    with pytest.raises(ConflictError, match="contains files"):
        await build_move(harness, None).run()
    assert (harness.paths.store / "important").exists()
    await require_usable(harness)


async def test_engine_cannot_open_an_unfinished_copy(harness: EngineHarness, database: TestDatabase) -> None:
    """Not even if workspace.json names the database."""
    await harness.close()
    errors: list[SealyardError] = []

    def open_copy() -> None:
        with pytest.raises(WorkspaceLockedError) as caught:
            PgStoreOpening.start(Database(database.connection_string), "w1")
        errors.append(caught.value)

    await build_move(harness, database, on_step(MoveStep.VERIFIED, open_copy)).run()
    assert [error.structured_hint.code for error in errors] == [HintCode.FINISH_MOVE]


async def test_reservation_of_an_administrator_is_kept(harness: EngineHarness, database: TestDatabase) -> None:
    await move(harness, database)
    await harness.close()
    database.execute("UPDATE sealyard.workspace SET lease_until = 'infinity', holder = 'maintenance'")
    with pytest.raises(WorkspaceLockedError, match="reserved in the database: maintenance"):
        await build_move(harness, None).run()


async def test_engine_that_opened_the_source_meanwhile_stops_the_move(
    harness: EngineHarness, database: TestDatabase
) -> None:
    """The process was suspended, and its lease expired: another engine has the workspace."""
    await move(harness, database)
    await harness.close()

    def take_over() -> None:
        database.execute("UPDATE sealyard.workspace SET term = term + 1, generation_id = 'another'")

    with pytest.raises(ConflictError, match="while it was copied"):
        await build_move(harness, None, on_step(MoveStep.VERIFIED, take_over)).run()
    assert load_metadata(harness.paths).database == database.connection_string


@pytest.mark.parametrize("step", [MoveStep.RECORDED, MoveStep.COPIED, MoveStep.VERIFIED])
async def test_lost_connections_fail_or_delay_the_move(
    harness: EngineHarness, database: TestDatabase, step: MoveStep
) -> None:
    """The source stays usable, and a repetition succeeds."""
    before = await read_content(harness)
    await harness.close()
    original = psycopg.Cursor.execute
    remaining = 3

    def lose_connection(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal remaining
        remaining -= 1
        if remaining == 0:
            database.disconnect_engines()
        return original(cursor, query, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        start = on_step(step, lambda: patch.setattr(psycopg.Cursor, "execute", lose_connection))
        try:
            await build_move(harness, database, start).run()
        except StorageError:
            patch.undo()
            if load_metadata(harness.paths).database is msgspec.UNSET:
                await require_usable(harness)
                before = await read_content(harness)
    if harness.paths.move.exists():
        await move(harness, database)
    else:
        harness.database = database
        await harness.open(work=False)
    require_continued(before, await read_content(harness))


@pytest.mark.parametrize("table", ["document", "event", "audit_entry", "audit_checkpoint", "audit_key"])
async def test_refused_statement_fails_the_move(harness: EngineHarness, database: TestDatabase, table: str) -> None:
    """As a database does whose disk is full. The transaction leaves nothing behind."""
    await harness.close()
    database.execute(f"ALTER TABLE sealyard.{table} ADD CONSTRAINT full_disk CHECK (workspace <> 'w1')")
    with pytest.raises(StorageError, match="writing the copy"):
        await build_move(harness, database).run()
    assert database.execute("SELECT count(*) FROM sealyard.workspace") == [(0,)]
    await require_usable(harness)
    before = await read_content(harness)
    database.execute(f"ALTER TABLE sealyard.{table} DROP CONSTRAINT full_disk")
    await move(harness, database)
    require_continued(before, await read_content(harness))


@pytest.mark.parametrize("file_name", ["segment", "checkpoints", "snapshot", "journal", "."])
async def test_full_disk_fails_the_move(
    harness: EngineHarness, database: TestDatabase, monkeypatch: pytest.MonkeyPatch, file_name: str
) -> None:
    await move(harness, database)
    await harness.close()
    original = atomic.write_all

    def write_all(fd: int, data: bytes | memoryview) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink().name.startswith(file_name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_all", write_all)
        with pytest.raises(DiskFullError):
            await build_move(harness, None).run()
    assert load_metadata(harness.paths).database == database.connection_string
    await require_usable(harness)
    before = await read_content(harness)
    await move(harness, None)
    require_continued(before, await read_content(harness))


async def put_document(harness: EngineHarness, table: str, identity: str, document: bytes) -> None:
    batch = WriteBatch(puts=((table, identity, msgspec.Raw(document)),))
    harness.engine.store.submit(batch).result()


async def test_u0000_in_names_is_listed_and_repaired(harness: EngineHarness, database: TestDatabase) -> None:
    subject = harness.engine.store.get("subjects", "USER:dev")
    assert subject is not None
    document = msgspec.json.encode(subject | {"displayName": "Dev\0 Berg"})
    await put_document(harness, "subjects", "USER:dev", document)
    await harness.close()
    plan = await build_move(harness, database).plan()
    assert plan.unsupported == ("document USER:dev of subjects",)
    with pytest.raises(InvalidInputError, match="document USER:dev of subjects") as caught:
        await build_move(harness, database).run()
    assert caught.value.structured_hint.code == HintCode.REPAIR_NAMES
    plan = await build_move(harness, database, repair=True).run()
    assert plan.repaired == 1
    harness.database = database
    await harness.open(work=False)
    subject = harness.engine.store.get("subjects", "USER:dev")
    assert subject is not None
    assert subject["displayName"] == "Dev\N{REPLACEMENT CHARACTER} Berg"
    (entry,) = [entry for entry in await harness.audit_entries() if entry.seq == plan.audit_entries]
    assert entry.new_value is not None
    assert entry.new_value["repaired"] == 1


async def test_u0000_that_a_digest_covers_is_not_repaired(harness: EngineHarness, database: TestDatabase) -> None:
    task = await harness.package()
    await harness.insert_tasks(msgspec.structs.replace(task, name="a\0b"))
    await put_document(harness, "rules", "other", b'{"name":"fine \\\\u0000","note":"\\u0000"}')
    await harness.close()
    plan = await build_move(harness, database, repair=True).plan()
    assert plan.unsupported == ("document other of rules", f"document {task.id} of tasks")
    with pytest.raises(InvalidInputError):
        require_supported(plan)


async def test_u0000_in_the_audit_log_is_listed(harness: EngineHarness, database: TestDatabase) -> None:
    """It cannot be repaired, because the entries are chained."""
    unit_of_work = harness.engine.repository.begin()
    unit_of_work.audit(ADMIN, AuditAction.UPDATED, "WORKSPACE:w1", "a\0b")
    await unit_of_work.commit()
    seq = len(await harness.audit_entries())
    await harness.close()
    plan = await build_move(harness, database, repair=True).plan()
    assert plan.unsupported == (f"audit entry (segment-000000.jsonl, line {seq})",)
    with pytest.raises(InvalidInputError):
        await build_move(harness, database, repair=True).run()
    await require_usable(harness)
