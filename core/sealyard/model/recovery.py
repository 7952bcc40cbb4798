"""What a recovery of a workspace finds, and what it does."""

from __future__ import annotations

from sealyard.model.base import FrozenStruct
from sealyard.model.key_holder_messages import StateReport


class RecoveryPlan(FrozenStruct, frozen=True, kw_only=True):
    """The state of a workspace before a recovery. ``problems``: why the engine refuses to start; empty if it does not.

    ``audit_entries``: number of entries in the audit log. ``audit_size`` and ``audit_root`` (hex): its newest
    checkpoint, from which it continues. ``unsigned_entries``: number of entries that the checkpoint does not cover.
    ``unfinished_tasks``: number of tasks that are cancelled.
    """

    worker_state: StateReport
    audit_entries: int
    audit_size: int
    audit_root: str
    unsigned_entries: int
    unfinished_tasks: int
    problems: tuple[str, ...]
