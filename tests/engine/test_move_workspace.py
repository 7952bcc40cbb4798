"""Test moves of a workspace between its folder and a database."""

from __future__ import annotations

from pathlib import Path

import msgspec
import psycopg
import pytest

from sealyard.audit.verify import verify_log
from sealyard.engine.move_workspace import WorkspaceMove
from sealyard.engine.workspace import load_metadata
from sealyard.model.errors import ConflictError, WorkspaceLockedError
from sealyard.model.moves import FOLDER, MoveStep
from sealyard.model.tasks import TaskStatus
from sealyard.storage import postgres
from sealyard.storage.postgres.connection import Database
from sealyard.storage.postgres.opening import PgStoreOpening
from tests.support.engine_harness import ADMIN, EngineHarness
from tests.support.fake_bus import FakeBus
from tests.support.legacy_store import write_legacy_store
from tests.support.moves import (
    Interrupted,
    build_move,
    interrupt_after,
    move,
    read_content,
    require_continued,
)
from tests.support.pgbouncer import PgBouncer, PooledDatabase
from tests.support.postgres import OWNER, TABLES, TestDatabase
from tests.support.proof_verifier import open_checkpoint, verify_consistency_proof, verify_inclusion_proof

pytestmark = [pytest.mark.anyio, pytest.mark.file_store]

STORE_STEPS = [step for step in MoveStep if step is not MoveStep.ARTIFACTS_COPIED]


async def test_move_there_and_back_twice(harness: EngineHarness, database: TestDatabase) -> None:
    waiting = await harness.package()
    before = await read_content(harness)
    for target in (database, None, database, None):
        source = FOLDER if harness.database is None else harness.database.connection_string
        plan = await move(harness, target)
        assert (plan.source, plan.unsupported) == (source, ())
        after = await read_content(harness)
        require_continued(before, after)
        assert plan.documents == len(after.documents)
        (entry,) = [entry for entry in await harness.audit_entries() if entry.seq == plan.audit_entries]
        assert entry.message.startswith(f"workspace moved from {source} to ")
        assert entry.new_value is not None
        assert (entry.new_value["auditSize"], entry.new_value["auditRoot"]) == (plan.audit_entries, plan.audit_root)
        before = after
    await harness.close()
    assert verify_log(harness.audit_source).size == len(before.lines)
    await harness.open(work=False)
    approved = await harness.approve(waiting)
    assert approved.status is not TaskStatus.WAITING


@pytest.mark.parametrize("step", STORE_STEPS)
@pytest.mark.parametrize("back", [False, True])
async def test_interrupted_move_is_repeated(
    harness: EngineHarness, database: TestDatabase, step: MoveStep, back: bool
) -> None:
    """Until the switch, the source can be used; afterwards, a repetition completes the move."""
    if back:
        await move(harness, database)
    source, target = harness.database, None if back else database
    before = await read_content(harness)
    await harness.close()
    with pytest.raises(Interrupted):
        await build_move(harness, target, interrupt_after(step)).run()
    is_switched = list(MoveStep).index(step) >= list(MoveStep).index(MoveStep.SWITCHED)
    assert (load_metadata(harness.paths).database is msgspec.UNSET) is ((target is None) is is_switched)
    if not is_switched:
        harness.database = source
        await harness.open(work=False)
        await harness.add_subject("USER:late")
        before = await read_content(harness)
    if step is MoveStep.FINISHED:
        harness.database = target
        await harness.open(work=False)
    else:
        if harness.is_open:
            await harness.close()
        await move(harness, target)
    require_continued(before, await read_content(harness))


async def test_move_from_one_database_to_another(harness: EngineHarness, database: TestDatabase) -> None:
    await move(harness, database)
    before = await read_content(harness)
    other_database = database.server.create_database()
    await move(harness, other_database)
    require_continued(before, await read_content(harness))
    await harness.close()
    with pytest.raises(WorkspaceLockedError, match="was moved"):
        PgStoreOpening.start(Database(database.connection_string), "w1")
    other_string = f"{other_database.connection_string} application_name=other"
    bus = FakeBus(harness.shelf, harness.clock)
    with pytest.raises(ConflictError, match="already contains this workspace"):
        await WorkspaceMove(harness.paths, bus, harness.clock, other_string).run()
    await harness.open(work=False)


async def test_move_through_a_pooler(
    harness: EngineHarness, database: TestDatabase, transaction_pooler: PgBouncer
) -> None:
    """One that may assign another session to each transaction."""
    before = await read_content(harness)
    for target in (PooledDatabase(database, transaction_pooler), None):
        await move(harness, target)
        after = await read_content(harness)
        require_continued(before, after)
        before = after


async def test_workspace_of_an_earlier_version_is_migrated_first(
    harness: EngineHarness, database: TestDatabase
) -> None:
    before = await read_content(harness)
    await harness.close()
    write_legacy_store(harness.paths.store)
    harness.shelf.store_generation = None
    harness.paths.link_key.write_bytes(bytes(32))
    plan = await move(harness, database)
    require_continued(before, await read_content(harness))
    migration, entry = [entry for entry in await harness.audit_entries() if entry.seq >= plan.audit_entries - 1]
    assert migration.message.startswith("workspace of an earlier version migrated")
    assert entry.message.startswith("workspace moved")
    assert not harness.paths.link_key.exists()


async def test_independent_verifier_follows_the_log_across_moves(
    harness: EngineHarness, database: TestDatabase
) -> None:
    """With a checkpoint and the key from before the move."""
    before = await read_content(harness)
    old_note = before.notes[-1]
    old_size, _ = open_checkpoint(old_note, before.key)
    for target in (database, None):
        plan = await move(harness, target)
        await harness.reopen(work=False)
        audit = harness.engine.audit
        verify_consistency_proof(await audit.prove_consistency(ADMIN, old_size, None), old_note, before.key)
        assert verify_inclusion_proof(await audit.prove_entry(ADMIN, 3), before.key) == before.lines[3]
        move_entry = verify_inclusion_proof(await audit.prove_entry(ADMIN, plan.audit_entries), before.key)
        assert b"workspace moved from" in move_entry


async def test_engine_role_is_sufficient(harness: EngineHarness, database: TestDatabase) -> None:
    """The role that moves cannot remove audit entries, nor a workspace, neither before nor after a move."""
    await move(harness, database)
    await move(harness, None)
    with psycopg.connect(database.connection_string, autocommit=True) as connection:
        for table in ("audit_entry", "audit_checkpoint", "audit_key", "workspace"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"DELETE FROM sealyard.{table}")
    await move(harness, database)


async def test_owner_removes_the_rows_of_a_workspace_that_was_moved_away(
    harness: EngineHarness, database: TestDatabase
) -> None:
    """As the documentation shows."""
    await move(harness, database)
    await move(harness, None)
    readme = (Path(postgres.__file__).parent / "README.md").read_text()
    statements = [line.strip() for line in readme.splitlines() if line.startswith("    DELETE FROM sealyard.")]
    assert len(statements) == len(TABLES)
    owner = database.server.connection_string(database.name, OWNER)
    with psycopg.connect(owner) as connection:
        for statement in statements:
            connection.execute(statement.replace("'…'", "'w1'"))
    assert [database.execute(f"SELECT count(*) FROM {table}") for table in TABLES] == [[(0,)]] * len(TABLES)
    await move(harness, database)
