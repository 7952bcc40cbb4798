"""How much there is of what in an open workspace: sums over the store's index, which read no task."""

from __future__ import annotations

from sealyard.engine.engine import Engine
from sealyard.engine.state.tables import DEAD_LETTERS, OUTBOX, TASKS
from sealyard.model.health import WorkspaceStats
from sealyard.model.tasks import TaskStatus


async def collect_stats(engine: Engine) -> WorkspaceStats:
    """On the engine's loop."""
    store = engine.store
    return WorkspaceStats(
        tasks={each: store.count(TASKS.name, {"status": each}) for each in TaskStatus},
        queued=engine.scheduler.queue_length,
        workers=len(engine.bus.pids),
        pending_deliveries=store.count(OUTBOX.name),
        dead_letters=store.count(DEAD_LETTERS.name),
    )
