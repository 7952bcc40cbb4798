"""Statistics of an open workspace for monitoring, counted from the store's indexes without reading any task."""

from __future__ import annotations

from sealyard.engine.engine import Engine
from sealyard.engine.state.tables import DEAD_LETTERS, OUTBOX, TASKS
from sealyard.model.health import WorkspaceStats
from sealyard.model.tasks import TaskStatus


async def collect_stats(engine: Engine) -> WorkspaceStats:
    """Return the current statistics. Call it on the engine's event loop."""
    store = engine.store
    return WorkspaceStats(
        tasks={status: store.count(TASKS.name, {"status": status}) for status in TaskStatus},
        queued=engine.scheduler.queue_length,
        workers=len(engine.bus.pids),
        pending_deliveries=store.count(OUTBOX.name),
        dead_letters=store.count(DEAD_LETTERS.name),
    )
