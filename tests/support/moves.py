"""Move the workspace of an engine harness, and compare its content before and after."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sealyard.engine.move_workspace import WorkspaceMove
from sealyard.model.moves import FOLDER, MovePlan, MoveStep
from tests.support.engine_harness import EngineHarness
from tests.support.fake_bus import FakeBus
from tests.support.postgres import TestDatabase


class Content(NamedTuple):
    """The content of store and audit log."""

    documents: dict[tuple[str, str], bytes]
    events: list[bytes]
    lines: list[bytes]
    notes: list[str]
    key: bytes


class Interrupted(BaseException):
    """Ends a move after a step."""


def interrupt_after(step: MoveStep) -> Callable[[MoveStep], None]:
    def on_step(reached: MoveStep) -> None:
        if reached is step:
            raise Interrupted(step)

    return on_step


def build_move(
    harness: EngineHarness,
    database: TestDatabase | None,
    on_step: Callable[[MoveStep], object] = lambda _: None,
    *,
    repair: bool = False,
) -> WorkspaceMove:
    """Return a move of a closed workspace into ``database``, or into its folder."""
    target = FOLDER if database is None else database.connection_string
    bus = FakeBus(harness.shelf, harness.clock)
    return WorkspaceMove(harness.paths, bus, harness.clock, target, repair=repair, on_step=on_step)


async def move(harness: EngineHarness, database: TestDatabase | None) -> MovePlan:
    """Close the engine, move the workspace, and open the engine on the copy."""
    if harness.is_open:
        await harness.close()
    plan = await build_move(harness, database).run()
    harness.database = database
    await harness.open(work=False)
    return plan


async def read_content(harness: EngineHarness) -> Content:
    """Return the content of an open workspace, whose engine is opened again to complete the audit log."""
    await harness.reopen(work=False)
    store, audit = harness.engine.store, harness.audit_source
    try:
        return Content(
            {(table, identity): body for table, bodies in store.tables.items() for identity, body in bodies.items()},
            store.recent_events_json(),
            [line.data for line in audit.lines()],
            list(audit.notes()),
            audit.read_public_key(),
        )
    finally:
        audit.close()


def require_continued(before: Content, after: Content) -> None:
    """Check that ``after`` has the same documents and events, and continues the audit log."""
    assert after.documents == before.documents
    assert after.events == before.events
    assert after.lines[: len(before.lines)] == before.lines
    assert after.notes[: len(before.notes)] == before.notes
    assert after.key == before.key
