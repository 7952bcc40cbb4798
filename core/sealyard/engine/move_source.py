"""Open and verify the workspace that a move copies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import NamedTuple

import msgspec
from msgspec import UNSET

from sealyard.audit.verify import verify_log
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.audit.checkpointing import CheckpointLoop
from sealyard.engine.audit.moves import record_moves
from sealyard.engine.key_migration import KeyMigration
from sealyard.engine.move_artifacts import collect_artifacts
from sealyard.engine.move_places import MovePlaces
from sealyard.engine.state.events import EventBroadcaster
from sealyard.engine.state.links import DownloadLinks
from sealyard.engine.state.open_state import acquire_lease, open_state
from sealyard.engine.state.opened_state import OpenedState
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.workspace import load_metadata, lock_workspace
from sealyard.jobs.bus import JobBus
from sealyard.model.clock import Clock
from sealyard.model.errors import ConflictError, WorkspaceLockedError
from sealyard.model.events import DurableEvent
from sealyard.model.moves import FOLDER, ArtifactsPlan, MovePlan, MoveRecord, MoveTarget, Places
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths
from sealyard.storage.artifact_copy import Artifact
from sealyard.storage.content import WorkspaceContent, compute_digest, iter_documents, list_checkpoints
from sealyard.storage.frame_chain import StoreCredentials

PURPOSE = "workspace move"


class MoveSource(NamedTuple):
    """The verified content of the source, its plan, and the keys for the copy.

    ``target``: the places after the move. ``old_record``: that of an earlier run, which was interrupted before the
    switch. ``artifacts``: what is copied; empty if inputs and results stay where they are.
    """

    metadata: WorkspaceMetadata
    target: Places
    old_record: MoveRecord | None
    repository: Repository
    content: WorkspaceContent
    artifacts: Sequence[Artifact]
    plan: MovePlan
    credentials: StoreCredentials

    @property
    def old_attempts(self) -> tuple[str, ...]:
        return () if self.old_record is None else self.old_record.attempts


class SourceOpener:
    """Opens the workspace for a move. ``repair``: whether to replace U+0000 in names for a database."""

    def __init__(self, paths: WorkspacePaths, bus: JobBus, clock: Clock, target: MoveTarget, *, repair: bool) -> None:
        self._paths = paths
        self._bus = bus
        self._clock = clock
        self._target = target
        self._repair = repair
        self._places = MovePlaces(paths)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[MoveSource]:
        """Lock, open and verify the workspace completely. Its audit log ends with a signed checkpoint then.

        Raises the errors of :func:`~sealyard.engine.move_workspace.move_workspace`.
        """
        metadata = load_metadata(self._paths)
        self._require_elsewhere(Places.of(metadata))
        self._require_readable_for_hosts(metadata)
        async with AsyncExitStack() as resources:
            opening = await acquire_lease(metadata)
            if opening is not None:
                resources.push_async_callback(run_uncancellable, opening.cancel)
            lock = await lock_workspace(self._paths, PURPOSE, has_lease=opening is not None)
            resources.callback(lock.release)
            if load_metadata(self._paths) != metadata:
                raise WorkspaceLockedError("The workspace was moved at this moment.", "Try again.")
            state = await open_state(self._paths, metadata, self._bus, opening)
            resources.push_async_callback(run_uncancellable, state.close)
            repository = await self._complete_audit_log(state, metadata)
            yield await run_uncancellable(partial(self._load, state, metadata, repository))

    def _require_elsewhere(self, places: Places) -> None:
        """Raise :class:`ConflictError` if the workspace is in the target."""
        if self._target.resolve(places) != places:
            return
        if self._target.artifacts is None:
            message = "Store and audit log of the workspace are already there."
        elif self._target.store is None:
            message = "Inputs and results of the workspace are already there."
        else:
            message = "The workspace is already there."
        raise ConflictError(message, "Nothing was changed.")

    def _require_readable_for_hosts(self, metadata: WorkspaceMetadata) -> None:
        """Raise :class:`ConflictError` if the hosts of a crypto zone could not read inputs after the move."""
        if metadata.zone is not UNSET and self._target.resolve(Places.of(metadata)).artifacts == FOLDER:
            raise ConflictError(
                f"The hosts of the crypto zone {escape_text(metadata.zone.name)} cannot read inputs in the folder of"
                " the workspace.",
                "Nothing was changed. Move inputs and results to another place in S3.",
            )

    async def _complete_audit_log(self, state: OpenedState, metadata: WorkspaceMetadata) -> Repository:
        """Check the log against store and worker state, and sign a checkpoint of all entries, as an engine does.

        A workspace of an earlier version is migrated before that, and an earlier move is audited.
        """
        assert state.audit is not None
        assert state.keys is not None
        events = EventBroadcaster(msgspec.convert(state.store.recent_events(), list[DurableEvent]))
        repository = Repository(state.store, state.audit, events, self._clock)
        checkpoint_loop = CheckpointLoop(repository, state.audit, self._bus, f"sealyard/{metadata.id}")
        await checkpoint_loop.open_log()
        await record_moves(repository, metadata)
        links, secret_box = DownloadLinks(metadata.id, state.keys.link_key), SecretBox(state.keys.secrets_key)
        await KeyMigration(repository, metadata, self._paths, links, secret_box).run()
        await checkpoint_loop.checkpoint()
        return repository

    def _load(self, state: OpenedState, metadata: WorkspaceMetadata, repository: Repository) -> MoveSource:
        assert state.keys is not None
        assert state.store.generation is not None
        report = verify_log(state.audit_source)
        content = WorkspaceContent(
            tables=state.store.tables,
            events=state.store.recent_events_json(),
            generation=state.store.generation,
            audit=state.audit_source,
        )
        places = Places.of(metadata)
        target = self._target.resolve(places)
        unsupported: Sequence[str] = ()
        repaired_count = 0
        if target.store not in (FOLDER, places.store):
            content, repaired_count, unsupported = self._places.make_supported(content, repair=self._repair)
        document_count, digest = compute_digest(iter_documents(content.tables))
        is_moving_artifacts = target.artifacts != places.artifacts
        plan = MovePlan(
            source=places.store,
            target=target.store,
            documents=document_count,
            events=len(content.events),
            audit_entries=report.size,
            checkpoints=len(list_checkpoints(content.audit)),
            documents_digest=digest,
            audit_root=report.root,
            unsupported=tuple(unsupported),
            repaired=repaired_count,
            artifacts=ArtifactsPlan(source=places.artifacts, target=target.artifacts) if is_moving_artifacts else None,
        )
        return MoveSource(
            metadata=metadata,
            target=target,
            old_record=self._places.load_record(),
            repository=repository,
            content=content,
            artifacts=collect_artifacts(self._paths, repository) if is_moving_artifacts else (),
            plan=plan,
            credentials=StoreCredentials(state.keys.store_key, metadata.id),
        )
