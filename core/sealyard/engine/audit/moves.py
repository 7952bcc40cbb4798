"""Audit a move of the workspace between its folder and a database, when the engine first opens the copy."""

from __future__ import annotations

from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import MOVES, StoredMove
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction


async def record_moves(repository: Repository, workspace_id: str) -> None:
    """Commit an audit entry for a move that has none. The copy contains its description until then."""
    for move in list(repository.list_all(MOVES)):
        unit_of_work = repository.begin()
        unit_of_work.audit(
            SYSTEM_SUBJECT,
            AuditAction.UPDATED,
            f"WORKSPACE:{workspace_id}",
            f"workspace moved from {move.source} to {move.target} with {move.audit_size} audit entries",
            _describe(move),
        )
        unit_of_work.delete(MOVES, move.id)
        await unit_of_work.commit()


def _describe(move: StoredMove) -> dict[str, str | int]:
    return {
        "source": move.source,
        "target": move.target,
        "auditSize": move.audit_size,
        "auditRoot": move.audit_root,
        "storeGeneration": move.generation,
        "repaired": move.repaired,
    }
