"""A move of store and audit log between the folder of a workspace and a database."""

from __future__ import annotations

from enum import StrEnum

from sealyard.model.base import FrozenStruct
from sealyard.model.key_holder_messages import StoreGeneration

FOLDER = "folder"
"""The place of store and audit log if they are in the folder of the workspace, and not in a database."""


class MoveStep(StrEnum):
    """The steps of a move, in order. Each is reported when it is complete.

    ``RECORDED``: the folder contains the record of the move. ``COPIED``: the target has the whole content.
    ``VERIFIED``: it was read again and compared. ``SWITCHED``: the target is the workspace from now on. ``ACTIVATED``:
    engines can open it. ``RETIRED``: the source cannot be opened any more. ``FINISHED``: the record was removed.
    """

    RECORDED = "recorded"
    COPIED = "copied"
    VERIFIED = "verified"
    SWITCHED = "switched"
    ACTIVATED = "activated"
    RETIRED = "retired"
    FINISHED = "finished"


class MovePlan(FrozenStruct, frozen=True, kw_only=True):
    """What a move copies. ``source`` and ``target`` are :data:`FOLDER` or the connection string of a database.

    ``documents``, ``events``, ``audit_entries`` and ``checkpoints`` are numbers. ``documents_digest`` (hex) is the
    SHA-256 of all documents, ``audit_root`` (hex) the root of the audit log. ``unsupported``: what the target cannot
    contain; the move is refused unless it is empty. ``repaired``: number of documents and events in which names were
    changed, so that the target can contain them.
    """

    source: str
    target: str
    documents: int
    events: int
    audit_entries: int
    checkpoints: int
    documents_digest: str
    audit_root: str
    unsupported: tuple[str, ...] = ()
    repaired: int = 0


class MoveRecord(FrozenStruct, frozen=True, kw_only=True):
    """The contents of ``move.json``, which exists in the folder while a move is unfinished.

    ``generation`` is that of the source. ``attempts``: the ids of all copies in databases that this and earlier runs
    began; the last one is that of this run.
    """

    plan: MovePlan
    generation: StoreGeneration
    attempts: tuple[str, ...]
