"""A move of a workspace: of store and audit log to or from a database, of inputs and results to or from a bucket."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import UNSET

from sealyard.model.base import FrozenStruct
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.model.workspace import WorkspaceMetadata

FOLDER = "folder"
"""The place of what is in the folder of the workspace, and not in a database or a bucket."""


class Places(NamedTuple):
    """Where a workspace is: each is :data:`FOLDER`, or the connection string of a database or the URL of a bucket."""

    store: str
    artifacts: str

    @classmethod
    def of(cls, metadata: WorkspaceMetadata) -> Places:
        return cls(
            store=FOLDER if metadata.database is UNSET else metadata.database,
            artifacts=FOLDER if metadata.artifacts is UNSET else metadata.artifacts,
        )


class MoveTarget(NamedTuple):
    """Where a workspace is to be moved; as :class:`Places`, with None for what stays where it is."""

    store: str | None
    artifacts: str | None = None

    def resolve(self, places: Places) -> Places:
        """Return the places after the move of a workspace that is in ``places``."""
        return Places(store=self.store or places.store, artifacts=self.artifacts or places.artifacts)


class MoveStep(StrEnum):
    """The steps of a move, in order. Each is reported when it is complete.

    ``RECORDED``: the folder contains the record of the move. ``ARTIFACTS_COPIED``: the target has all inputs and
    results. ``COPIED``: the target has the whole content of store and audit log. ``VERIFIED``: it was read again and
    compared. Each of these three is omitted if that part stays where it is.
    ``SWITCHED``: the target is the workspace from now on. ``ACTIVATED``:
    engines can open it. ``RETIRED``: the source cannot be opened any more. ``FINISHED``: the record was removed.
    """

    RECORDED = "recorded"
    ARTIFACTS_COPIED = "artifacts-copied"
    COPIED = "copied"
    VERIFIED = "verified"
    SWITCHED = "switched"
    ACTIVATED = "activated"
    RETIRED = "retired"
    FINISHED = "finished"


class ArtifactKind(StrEnum):
    INPUT = "input"
    RESULT = "result"


class ArtifactDefect(StrEnum):
    """Why an artifact cannot be copied. ``DAMAGED``: its content does not have the recorded size or digest."""

    MISSING = "missing"
    DAMAGED = "damaged"


class ArtifactProblem(FrozenStruct, frozen=True, kw_only=True):
    """An input or result that cannot be copied. ``task_ids``: the tasks that need it. ``sha256`` is in hex."""

    kind: ArtifactKind
    sha256: str
    task_ids: tuple[str, ...]
    defect: ArtifactDefect


class ArtifactsPlan(FrozenStruct, frozen=True, kw_only=True):
    """The inputs and results that a move copies. ``source`` and ``target`` are :data:`FOLDER` or the URL of a bucket.

    ``inputs`` and ``results`` are numbers, ``size`` is the number of bytes of both. ``problems``: what cannot be copied
    and is not counted.
    """

    source: str
    target: str
    inputs: int = 0
    results: int = 0
    size: int = 0
    problems: tuple[ArtifactProblem, ...] = ()


class MovePlan(FrozenStruct, frozen=True, kw_only=True):
    """What a move copies. ``source`` and ``target`` are :data:`FOLDER` or the connection string of a database.

    They are equal if store and audit log stay where they are. ``artifacts`` is None if inputs and results stay.

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
    artifacts: ArtifactsPlan | None = None

    @property
    def moves_store(self) -> bool:
        return self.source != self.target

    def leads_to(self, places: Places) -> bool:
        """Return whether the workspace is in ``places`` after this move."""
        return self.target == places.store and (self.artifacts is None or self.artifacts.target == places.artifacts)


class MoveRecord(FrozenStruct, frozen=True, kw_only=True):
    """The contents of ``move.json``, which exists in the folder while a move is unfinished.

    ``generation`` is that of the source. ``attempts``: the ids of all copies that this and earlier runs began; the last
    one is that of this run. ``retired_artifacts``: name of the folder for inputs and results that were copied to a
    bucket.
    """

    plan: MovePlan
    generation: StoreGeneration
    attempts: tuple[str, ...]
    retired_artifacts: str = ""
