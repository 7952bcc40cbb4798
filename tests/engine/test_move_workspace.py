"""Test moves of a workspace between its folder and a database."""

from __future__ import annotations

import msgspec
import pytest

from sealyard.audit.verify import verify_log
from sealyard.engine.workspace import load_metadata
from sealyard.model.moves import FOLDER, MoveStep
from sealyard.model.tasks import TaskStatus
from tests.support.engine_harness import EngineHarness
from tests.support.moves import (
    Interrupted,
    build_move,
    interrupt_after,
    move,
    read_content,
    require_continued,
)
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.file_store]


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


@pytest.mark.parametrize("step", list(MoveStep))
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
