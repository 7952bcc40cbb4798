"""Audit a move of the workspace, when an engine first opens it in its new place."""

from __future__ import annotations

from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import MOVES, StoredArtifactsMove, StoredMove, encode_document
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.formatting import format_count
from sealyard.model.moves import MoveRecord, Places
from sealyard.model.workspace import WorkspaceMetadata
from sealyard.storage.content import WorkspaceContent


def add_move(content: WorkspaceContent, record: MoveRecord) -> WorkspaceContent:
    """Return the content of the copy, with a document by which the first engine that opens it audits the move."""
    move = _build_document(record)
    tables = {**content.tables, MOVES.name: {move.id: bytes(encode_document(move))}}
    return content._replace(tables=tables)


async def announce_move(repository: Repository, record: MoveRecord) -> None:
    """Commit the document of a move in the store, which stays where it is.

    The engine that opens the workspace next audits the move if it took place, and drops the document otherwise.
    """
    move = _build_document(record)
    unit_of_work = repository.begin()
    unit_of_work.put(MOVES, move.id, move)
    await unit_of_work.commit()


async def record_moves(repository: Repository, metadata: WorkspaceMetadata) -> None:
    """Commit audit entries for a move that has none. The store contains its description until then."""
    places = Places.of(metadata)
    for move in list(repository.list_all(MOVES)):
        unit_of_work = repository.begin()
        resource = f"WORKSPACE:{metadata.id}"
        if move.source != move.target:
            message = f"workspace moved from {move.source} to {move.target} with {move.audit_size} audit entries"
            unit_of_work.audit(SYSTEM_SUBJECT, AuditAction.UPDATED, resource, message, _describe(move))
        artifacts = move.artifacts
        if artifacts is not None and artifacts.target == places.artifacts:
            message = (
                f"inputs and results moved from {artifacts.source} to {artifacts.target}:"
                f" {format_count(artifacts.inputs, 'input')}, {format_count(artifacts.results, 'result')}"
            )
            unit_of_work.audit(SYSTEM_SUBJECT, AuditAction.UPDATED, resource, message, _describe_artifacts(artifacts))
        unit_of_work.delete(MOVES, move.id)
        await unit_of_work.commit()


def _build_document(record: MoveRecord) -> StoredMove:
    plan, artifacts = record.plan, record.plan.artifacts
    return StoredMove(
        id=record.attempts[-1],
        source=plan.source,
        target=plan.target,
        audit_size=plan.audit_entries,
        audit_root=plan.audit_root,
        generation=record.generation.number,
        repaired=plan.repaired,
        artifacts=None
        if artifacts is None
        else StoredArtifactsMove(
            source=artifacts.source,
            target=artifacts.target,
            inputs=artifacts.inputs,
            results=artifacts.results,
            size=artifacts.size,
            skipped=len(artifacts.problems),
        ),
    )


def _describe(move: StoredMove) -> dict[str, str | int]:
    return {
        "source": move.source,
        "target": move.target,
        "auditSize": move.audit_size,
        "auditRoot": move.audit_root,
        "storeGeneration": move.generation,
        "repaired": move.repaired,
    }


def _describe_artifacts(move: StoredArtifactsMove) -> dict[str, str | int]:
    return {
        "source": move.source,
        "target": move.target,
        "inputs": move.inputs,
        "results": move.results,
        "size": move.size,
        "skipped": move.skipped,
    }
