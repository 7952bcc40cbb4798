"""What a recovery of a workspace finds, and what it does."""

from __future__ import annotations

from sealyard.model.base import FrozenStruct
from sealyard.model.key_holder_messages import StateReport


class RecoveryPlan(FrozenStruct, frozen=True, kw_only=True):
    """The state of a workspace before a recovery. ``problems``: why the engine refuses to start; empty if it does not.

    ``generation``: that of the store. ``lost_generations``: number of newer ones that the worker state has recorded. In
    a database, each start of an engine is one.

    ``audit_entries``: number of entries in the audit log. ``audit_size`` and ``audit_root`` (hex): its newest
    checkpoint, from which it continues. ``unsigned_entries``: number of entries that the checkpoint does not cover.
    ``lost_entries``: number of entries that were signed, but are missing. ``unfinished_tasks``: number of tasks that
    are cancelled.
    """

    worker_state: StateReport
    generation: int
    lost_generations: int
    audit_entries: int
    audit_size: int
    audit_root: str
    unsigned_entries: int
    lost_entries: int
    unfinished_tasks: int
    problems: tuple[str, ...]
