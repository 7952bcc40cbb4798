"""Test workspaces in PostgreSQL as a whole: what a database administrator changes, engines that are replaced."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import UNSET

from sealyard.audit.proof import prove_inclusion
from sealyard.audit.reader import AuditReader
from sealyard.audit.verify import verify_log
from sealyard.engine.open_engine import open_reader
from sealyard.engine.workspace import load_metadata
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import (
    AuditVerificationError,
    FencedError,
    InvalidInputError,
    StorageError,
    StoreCorruptedError,
    WorkspaceLockedError,
    WorkspaceReadOnlyError,
)
from sealyard.storage import postgres
from sealyard.storage.postgres import lease
from tests.engine.conftest import open_workspace
from tests.support.engine_harness import ADMIN, DEV, EngineHarness, listen
from tests.support.limits import TIMEOUT
from tests.support.postgres import TestDatabase
from tests.support.programs import require

pytestmark = pytest.mark.anyio

KEEP_OLDEST_CHECKPOINT = """
    DELETE FROM sealyard.audit_checkpoint WHERE size > (SELECT min(size) FROM sealyard.audit_checkpoint);"""
CHANGED_ENTRIES = {
    "text of an entry": "UPDATE sealyard.audit_entry SET line = replace(line::text, 'DEVICE', 'DEVISE')::json",
    "first entry": """
        UPDATE sealyard.audit_entry SET line = replace(line::text, '"seq":0', '"seq":9')::json WHERE seq = 0""",
    "entry in the middle removed": "DELETE FROM sealyard.audit_entry WHERE seq = 3",
    "entries reordered": """
        UPDATE sealyard.audit_entry a SET line = b.line FROM sealyard.audit_entry b
        WHERE (a.seq, b.seq) IN ((3, 4), (4, 3))""",
}
CHANGED_LOGS = {
    **{f"{name}, after the newest checkpoint": KEEP_OLDEST_CHECKPOINT + sql for name, sql in CHANGED_ENTRIES.items()},
    **{
        f"{name}, and the tree removed": f"UPDATE sealyard.audit_checkpoint SET frontier = NULL; {sql}"
        for name, sql in CHANGED_ENTRIES.items()
    },
    "newest entry removed": """
        DELETE FROM sealyard.audit_entry WHERE seq = (SELECT max(seq) FROM sealyard.audit_entry)""",
    "newest entry changed": """
        UPDATE sealyard.audit_entry SET line = replace(line::text, 'seq', 'SEQ')::json
        WHERE seq = (SELECT max(seq) FROM sealyard.audit_entry)""",
    "all entries removed": "DELETE FROM sealyard.audit_entry",
    "entry repeated": """
        INSERT INTO sealyard.audit_entry
        SELECT workspace, seq + 1, line, position FROM sealyard.audit_entry
        WHERE seq = (SELECT max(seq) FROM sealyard.audit_entry)""",
    "checkpoints removed": "DELETE FROM sealyard.audit_checkpoint",
    "newest checkpoints removed": f"""
        {KEEP_OLDEST_CHECKPOINT}
        DELETE FROM sealyard.audit_entry WHERE seq > (SELECT min(size) FROM sealyard.audit_checkpoint)""",
    "checkpoint changed": "UPDATE sealyard.audit_checkpoint SET note = translate(note, 'ABC', 'BCA')",
    "subtree of the tree changed": """
        UPDATE sealyard.audit_checkpoint SET frontier[1] = sha256(frontier[1]) WHERE size > 0""",
    "subtree of the tree shortened": """
        UPDATE sealyard.audit_checkpoint SET frontier[1] = substr(frontier[1], 2) WHERE size > 0""",
    "subtree of the tree added": """
        UPDATE sealyard.audit_checkpoint SET frontier = frontier || sha256('x')""",
    "key": "UPDATE sealyard.audit_key SET public_key = translate(public_key, 'ABC', 'BCA')",
}


@pytest.fixture
async def pg_harness(tmp_path: Path, database: TestDatabase) -> AsyncIterator[EngineHarness]:
    """Yield an open workspace in PostgreSQL, with the default subjects and a configuration."""
    harness = await open_workspace(tmp_path / "workspace", database, demo=False)
    await harness.add_default_subjects()
    yield harness
    if harness.is_open:
        await harness.close()


def count(database: TestDatabase, table: str) -> int:
    return int(database.execute(f"SELECT count(*) FROM sealyard.{table}")[0][0])


async def test_store_folder_stays_empty(pg_harness: EngineHarness) -> None:
    await pg_harness.done_package()
    await pg_harness.close()
    folders = (pg_harness.paths.store, pg_harness.paths.audit)
    assert [path for folder in folders for path in folder.iterdir()] == []


async def test_audit_entries_are_committed_with_their_unit_of_work(
    pg_harness: EngineHarness, database: TestDatabase
) -> None:
    task = await pg_harness.package()
    entries = await pg_harness.audit_entries()
    assert count(database, "audit_entry") == len(entries)
    assert pg_harness.engine.store.pending_audit() == []
    positions = (
        "SELECT count(*) FROM sealyard.audit_entry JOIN sealyard.document USING (position) WHERE line->>'resource' = %s"
    )
    assert database.execute(positions, (f"TASK:{task.id}",))[0][0] > 0


async def test_failed_unit_of_work_has_no_entry(pg_harness: EngineHarness, database: TestDatabase) -> None:
    database.execute("ALTER TABLE sealyard.document ADD CONSTRAINT no_tasks CHECK (kind <> 'tasks') NOT VALID")
    entry_count = count(database, "audit_entry")
    file = await pg_harness.upload()
    with pytest.raises(StorageError):
        await pg_harness.package(firmware=(file,))
    entries = await pg_harness.audit_entries()
    assert [entry.change for entry in entries[entry_count:]] == [AuditAction.FAILED]
    database.execute("ALTER TABLE sealyard.document DROP CONSTRAINT no_tasks")
    await pg_harness.package(firmware=(file,))


async def test_log_verifies_and_proves_its_entries(pg_harness: EngineHarness) -> None:
    await pg_harness.done_package()
    await pg_harness.close()
    source = pg_harness.audit_source
    report = verify_log(source)
    assert report.size == report.checkpointed_size > 10
    proof = prove_inclusion(source, 5)
    assert proof.verify(source.read_public_key())[1].seq == 5


async def test_psql_exports_the_log_as_files(pg_harness: EngineHarness, database: TestDatabase, tmp_path: Path) -> None:
    """As the documentation shows."""
    await pg_harness.done_package()
    await pg_harness.close()
    readme = (Path(postgres.__file__).parent / "README.md").read_text()
    commands = re.findall(r"^    psql -At (-c .*) > (\S+)$", readme, re.MULTILINE)
    assert [name for _, name in commands] == ["segment-000000.jsonl", "checkpoints.txt", "audit-key.pem"]
    for arguments, name in commands:
        query = arguments.removeprefix('-c "').removesuffix('"').replace("…", "w1")
        command = [require("psql"), "-d", database.connection_string, "-At", "-c", query]
        (tmp_path / name).write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    assert verify_log(AuditReader(tmp_path)) == verify_log(pg_harness.audit_source)


async def test_pages_of_entries_match_filters(pg_harness: EngineHarness) -> None:
    await pg_harness.package()
    await pg_harness.package()
    entries = await pg_harness.audit_entries()
    for filters in (
        AuditFilter(author=DEV),
        AuditFilter(change=AuditAction.STATUS_CHANGED),
        AuditFilter(resource=entries[-1].resource),
        AuditFilter(text="GATEWAY"),
        AuditFilter(since=entries[3].timestamp, author=ADMIN),
    ):
        expected = [entry for entry in reversed(entries) if filters.matches(entry)]
        assert expected
        first = await pg_harness.engine.audit.page(ADMIN, filters, None, 1)
        rest = await pg_harness.engine.audit.page(ADMIN, filters, first.entries[0].seq, 1000)
        assert [*first.entries, *rest.entries] == expected


@pytest.mark.parametrize("change", CHANGED_LOGS.values(), ids=CHANGED_LOGS)
async def test_changed_log_is_refused(pg_harness: EngineHarness, database: TestDatabase, change: str) -> None:
    await pg_harness.package()
    await pg_harness.close()
    database.execute(change)
    with pytest.raises(AuditVerificationError):
        await pg_harness.open()


@pytest.mark.parametrize("change", CHANGED_ENTRIES.values(), ids=CHANGED_ENTRIES)
async def test_change_before_the_newest_checkpoint_is_found_by_verify(
    pg_harness: EngineHarness, database: TestDatabase, change: str
) -> None:
    """A start does not read these entries."""
    await pg_harness.package()
    await pg_harness.close()
    database.execute(change)
    await pg_harness.open()
    await pg_harness.package()
    with pytest.raises(AuditVerificationError, match="Entr"):
        await pg_harness.engine.audit.verify(ADMIN, None, None)


@pytest.mark.parametrize(
    "change", [KEEP_OLDEST_CHECKPOINT, "UPDATE sealyard.audit_checkpoint SET frontier = NULL"], ids=["newer", "all"]
)
async def test_start_reads_entries_without_stored_tree(
    pg_harness: EngineHarness, database: TestDatabase, change: str
) -> None:
    await pg_harness.package()
    await pg_harness.close()
    database.execute(change)
    await pg_harness.open()
    await pg_harness.package()
    await pg_harness.close()
    newest = "SELECT cardinality(frontier) > 0 FROM sealyard.audit_checkpoint ORDER BY size DESC LIMIT 1"
    assert database.execute(newest) == [(True,)]
    report = verify_log(pg_harness.audit_source)
    assert report.size == report.checkpointed_size


async def test_verify_names_the_changed_entry(pg_harness: EngineHarness, database: TestDatabase) -> None:
    await pg_harness.close()
    database.execute(
        "UPDATE sealyard.audit_entry SET line = replace(line::text, 'seq\":3', 'seq\":4')::json WHERE seq = 3"
    )
    with pytest.raises(AuditVerificationError, match="audit_entry, row 3") as caught:
        verify_log(pg_harness.audit_source)
    assert caught.value.seq == 3


async def test_changed_document_is_refused(pg_harness: EngineHarness, database: TestDatabase) -> None:
    await pg_harness.close()
    database.execute("""
        UPDATE sealyard.document SET body = replace(body::text, 'USER:owner', 'USER:dev')::json WHERE kind = 'rules'""")
    with pytest.raises(StoreCorruptedError, match="of rules"):
        await pg_harness.open()


async def test_older_database_is_refused(pg_harness: EngineHarness, database: TestDatabase) -> None:
    """Within a run, the last signed checkpoint shows it."""
    copy = database.copy()
    await pg_harness.package()
    await pg_harness.close()
    copy.expire_lease()
    database.server.execute(f"ALTER DATABASE {database.name} RENAME TO {database.name}_newer")
    database.server.execute(f"ALTER DATABASE {copy.name} RENAME TO {database.name}")
    with pytest.raises(AuditVerificationError, match="entries were removed"):
        await pg_harness.open()


async def test_checkpoint_of_lost_entries_is_not_stored(pg_harness: EngineHarness, database: TestDatabase) -> None:
    """A recovery could not remove a checkpoint of entries that the database has lost."""
    older = database.copy()
    await pg_harness.package()
    database.put_back(older)
    assert pg_harness.engine._checkpoint_loop is not None
    with pytest.raises(FencedError, match="lost acknowledged commits"):
        await pg_harness.engine._checkpoint_loop.checkpoint()
    sizes = "SELECT max(size) FROM sealyard.audit_checkpoint"
    assert database.execute(sizes)[0][0] <= count(database, "audit_entry")


async def test_second_engine_is_refused(pg_harness: EngineHarness, database: TestDatabase, tmp_path: Path) -> None:
    pg_harness.paths.lock.rename(tmp_path / "lock")
    other = EngineHarness(pg_harness.paths.root, pg_harness.shelf, pg_harness.clock, database)
    with pytest.raises(WorkspaceLockedError, match="Another engine"):
        await other.open()


async def test_replaced_engine_stops(pg_harness: EngineHarness, database: TestDatabase) -> None:
    database.execute("UPDATE sealyard.workspace SET term = term + 1")
    with pytest.raises(FencedError) as caught:
        await pg_harness.package()
    assert caught.value.started
    await asyncio.wait_for(pg_harness.engine.repository.fatal_error_event.wait(), TIMEOUT)
    with pytest.raises(FencedError):
        await pg_harness.engine.repository.begin().commit()
    with pytest.raises(FencedError) as caught:
        await pg_harness.engine.execute(ADMIN, "TASK", pg_harness.package())
    assert not caught.value.started
    await pg_harness.close()
    database.expire_lease()
    await pg_harness.open()
    await pg_harness.package()


async def test_replaced_engine_stops_while_it_is_idle(
    pg_harness: EngineHarness, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await pg_harness.close()
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.2)
    await pg_harness.open()
    database.execute("UPDATE sealyard.workspace SET term = term + 1")
    await asyncio.wait_for(pg_harness.engine.repository.fatal_error_event.wait(), TIMEOUT)
    assert isinstance(pg_harness.engine.repository.fatal_error, FencedError)


async def test_text_with_nul_character_is_refused(pg_harness: EngineHarness) -> None:
    with pytest.raises(InvalidInputError, match=r"U\+0000"):
        await pg_harness.package(name="a\0b")
    await pg_harness.package(name="ab")


async def test_reader_needs_neither_key_nor_lease(pg_harness: EngineHarness) -> None:
    task = await pg_harness.package()
    reader = await open_reader(pg_harness.paths, clock=pg_harness.clock)
    try:
        assert reader.read_only
        assert reader.queries.get(DEV, task.id).id == task.id
        report = await reader.audit.verify(ADMIN, None, None)
        assert report.size == len(await pg_harness.audit_entries())
        events = listen(reader.events, reader.events.cursor)
        reader.tail()
        task = await pg_harness.package()
        async with asyncio.timeout(TIMEOUT):
            assert getattr(await anext(events), "task_id", "") == task.id
        with pytest.raises(WorkspaceReadOnlyError):
            await reader.execute(DEV, "", pg_harness.package())
    finally:
        await reader.close()


async def test_workspace_file_names_the_database_without_password(
    pg_harness: EngineHarness, database: TestDatabase
) -> None:
    assert load_metadata(pg_harness.paths).database == database.connection_string


@pytest.mark.file_store
async def test_workspace_in_files_names_no_database(harness: EngineHarness) -> None:
    assert load_metadata(harness.paths).database is UNSET
    assert "database" not in harness.paths.file.read_text()
