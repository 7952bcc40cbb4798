"""Open the worker state of a workspace with its freshness anchor, inspect both, and recover from an older copy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealyard.audit.checkpoint import checkpoint_body, format_note, verify_note
from sealyard.keyholder.anchor import Anchor, AnchorCodec
from sealyard.keyholder.anchor_stores import AnchorPlaces, AnchorStore
from sealyard.keyholder.anchored_state import AnchoredWorkerState, compare, create_anchor
from sealyard.keyholder.file_state import FileWorkerState
from sealyard.keyholder.state import WorkerState
from sealyard.keys.master_key import OpenedKeyStore
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.audit import Checkpoint
from sealyard.model.errors import AnchorError, AuditVerificationError, ConflictError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.key_holder_messages import (
    NO_ANCHOR,
    AnchorProblem,
    KeyStoreLocation,
    RecoveryDetails,
    StatePosition,
    StateReport,
    StoreGeneration,
)
from sealyard.model.workspace import WorkspacePaths


class WorkerStateAccess:
    """Opens the worker state of one workspace, whose key store is open."""

    def __init__(self, location: KeyStoreLocation, key_store: OpenedKeyStore) -> None:
        self._location = location
        self._key_store = key_store
        self._paths = WorkspacePaths(Path(location.workspace))
        self._codec = AnchorCodec(key_store.master_key, location.workspace_id)

    def open(self) -> WorkerState:
        """Open the state, and check its freshness.

        Raises the errors of :meth:`FileWorkerState.open` and :meth:`AnchoredWorkerState.open`.
        """
        places = self._create_places()
        state = FileWorkerState.open(self._paths, self._location.workspace_id, self._key_store)
        try:
            if not places.is_disabled:
                return AnchoredWorkerState.open(state, places, self._codec, created=self._location.create)
            if state.anchor_location not in (None, NO_ANCHOR):
                state.record_anchor(NO_ANCHOR)
            return state
        except BaseException:
            state.close()
            raise

    def inspect(self, audit_size: int = 0) -> StateReport:
        """Compare the state with its anchor, and count the intents after the checkpoint of this size.

        Raises the error if the state or the anchor cannot be read.
        """
        with self._open_unchecked() as state:
            return self._report(state, self._select_store(state), audit_size)

    def recover(self, note: str, generation: StoreGeneration | None, *, adopt: bool) -> StateReport:
        """Start a new epoch, in which the audit log continues from the checkpoint ``note``, and write its anchor.

        ``generation``: the generation from which the store continues; None for the recorded one. ``adopt``: whether the
        state may be one without a valid anchor. A crash at any step leaves a state that can be opened, or recovered
        again.

        Raises :class:`AnchorError` if the state has no valid anchor and ``adopt`` is not set, and
        :class:`AuditVerificationError` if the audit key of the workspace did not sign ``note``.
        """
        with self._open_unchecked() as state:
            store = self._select_store(state)
            checkpoint = self._verify_note(note)
            report = self._report(state, store, checkpoint.size)
            _require_adopted(report, adopt)
            recovery = RecoveryDetails(
                problem=report.problem,
                state=report.state,
                anchor=report.anchor,
                audit_size=checkpoint.size,
                audit_root=checkpoint.root,
                generation=generation,
                old_generation=report.store_generation,
                newer_intents=report.newer_intents,
            )
            state.start_epoch(self._location.workspace_id, recovery, self._key_store)
            if store is not None:
                if state.anchor_location != store.location:
                    state.record_anchor(store.location)
                store.save(self._codec.encode(create_anchor(state, self._codec)))
            return self._report(state, store, checkpoint.size)

    def _create_places(self) -> AnchorPlaces:
        return AnchorPlaces(self._location, self._key_store, os.environ)

    @contextmanager
    def _open_unchecked(self) -> Iterator[FileWorkerState]:
        state = FileWorkerState.open(
            self._paths, self._location.workspace_id, self._key_store, accepts_other_epoch=True
        )
        try:
            yield state
        finally:
            state.close()

    def _select_store(self, state: FileWorkerState) -> AnchorStore | None:
        """Return where the anchor of the state is, or where it will be if it is missing; None if none is kept."""
        places = self._create_places()
        if places.is_disabled:
            return None
        recorded = None if state.anchor_location == NO_ANCHOR else state.anchor_location
        recorded_store = places.select(recorded)
        return recorded_store if recorded_store.load() is not None else places.select(None)

    def _report(self, state: FileWorkerState, store: AnchorStore | None, audit_size: int) -> StateReport:
        anchor, problem = self._check(state, store)
        if problem is None and not state.has_epoch(self._key_store):
            problem = AnchorProblem.EPOCH
        return StateReport(
            state=state.position,
            store_generation=state.store_generation,
            newer_intents=state.count_intents_after(audit_size),
            recent_intents=state.info.recent_intents,
            anchor=None if anchor is None else _to_position(anchor),
            location=NO_ANCHOR if store is None else store.location,
            problem=problem,
        )

    def _check(self, state: FileWorkerState, store: AnchorStore | None) -> tuple[Anchor | None, AnchorProblem | None]:
        content = None if store is None else store.load()
        if store is None or content is None:
            is_missing = store is not None and state.anchor_location not in (None, NO_ANCHOR)
            return None, AnchorProblem.MISSING if is_missing else None
        try:
            anchor = self._codec.decode(content, store.location)
        except AnchorError:
            return None, AnchorProblem.DAMAGED
        return anchor, compare(state, anchor)

    def _verify_note(self, note: str) -> Checkpoint:
        """Return the checkpoint, after verifying it with the audit key of the key store."""
        import asyncio

        checkpoint = asyncio.run(_verify_with_audit_key(note, self._paths.root, self._key_store.master_key))
        if checkpoint.origin != f"sealyard/{self._location.workspace_id}":
            raise AuditVerificationError(f"The last checkpoint of the audit log is of {checkpoint.origin}.")
        return checkpoint


async def _verify_with_audit_key(note: str, workspace: Path, master_key: bytes) -> Checkpoint:
    from sealyard.keys.audit_key import AUDIT_KEY_NAME, open_audit_provider

    provider = open_audit_provider(workspace, master_key)
    version = (await provider.get_info(AUDIT_KEY_NAME)).current
    assert version.public_key is not None
    public_key = version.public_key.encode()
    checkpoint = verify_note(note, public_key)
    # The public key is in a plain file, but is authenticated together with the private key, which only this uses.
    signer = await provider.signer(AUDIT_KEY_NAME, version.version, SigningAlgorithm.ED25519)
    format_note(checkpoint, public_key, await signer.sign(checkpoint_body(checkpoint)))
    return checkpoint


def _require_adopted(report: StateReport, adopt: bool) -> None:
    if report.problem in (AnchorProblem.MISSING, AnchorProblem.DAMAGED) and not adopt:
        raise ConflictError(
            f"The workspace has no valid freshness anchor ({report.problem}), so nothing shows how old this copy is.",
            Hint.of(HintCode.ADOPT_WORKSPACE),
        )


def _to_position(anchor: Anchor) -> StatePosition:
    return StatePosition(
        epoch=anchor.epoch, records=anchor.records, audit_size=anchor.audit_size, audit_root=anchor.audit_root
    )
