"""Audit what the key holder did to the worker state while no engine was running."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sealyard.engine.state.repository import Repository
from sealyard.jobs.bus import JobBus
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.key_commands import ConfirmAudited
from sealyard.model.key_holder_messages import NO_ANCHOR, RecoveryDetails, StateEvent


async def record_state_events(
    repository: Repository, bus: JobBus, workspace_id: str, events: Sequence[StateEvent]
) -> None:
    """Commit an audit entry for each event of the worker state that has none, and confirm it to the key holder.

    After a crash in between, an event has two entries with the same ``record``.
    """
    if not events:
        return
    unit_of_work = repository.begin()
    for event in events:
        message, value = _describe(event)
        value["record"] = event.record
        unit_of_work.audit(SYSTEM_SUBJECT, AuditAction.UPDATED, f"WORKSPACE:{workspace_id}", message, value)
    await unit_of_work.commit()
    await bus.request(ConfirmAudited())


def _describe(event: StateEvent) -> tuple[str, dict[str, Any]]:
    if event.recovery is not None:
        return _describe_recovery(event.recovery)
    if event.anchor == NO_ANCHOR:
        return "freshness anchor switched off: an older copy of the workspace is not noticed", {}
    if event.anchor is not None:
        return f"freshness anchor kept in {event.anchor}", {"anchor": event.anchor}
    return f"worker state created from {event.migrated_intents} recorded signatures of an earlier version", {}


def _describe_recovery(recovery: RecoveryDetails) -> tuple[str, dict[str, Any]]:
    message = (
        f"workspace recovered ({recovery.problem or 'audit log'}): the audit log continues from its checkpoint of size"
        f" {recovery.audit_size}; {recovery.state.audit_size} entries were signed before"
    )
    return message, {
        "problem": recovery.problem,
        "auditSize": recovery.audit_size,
        "auditRoot": recovery.audit_root,
        "generation": msgspec.to_builtins(recovery.generation),
        "oldGeneration": msgspec.to_builtins(recovery.old_generation),
        "newerIntents": recovery.newer_intents,
        "oldState": msgspec.to_builtins(recovery.state),
        "oldAnchor": msgspec.to_builtins(recovery.anchor),
    }
