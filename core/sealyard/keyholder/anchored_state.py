"""The worker state together with its freshness anchor.

The anchor is compared with the state when it is opened, and follows it while it is open. A record is anchored before
its request is answered, if the last write of the anchor is at least :data:`ANCHOR_INTERVAL` old; otherwise within that
time. So a single signature is anchored before the key is used, and many signatures share one write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Self

from sealyard.keyholder.anchor import Anchor, AnchorCodec
from sealyard.keyholder.anchor_stores import AnchorPlaces, AnchorStore
from sealyard.keyholder.file_state import FileWorkerState
from sealyard.keyholder.state import Intent, SignedCheckpoint
from sealyard.model.errors import AnchorError, SealyardError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.key_holder_messages import NO_ANCHOR, AnchorProblem, StoreGeneration, WorkerStateInfo
from sealyard.model.safe_text import escape_text

ANCHOR_INTERVAL = 1.0
"""Longest time in seconds for which a record of an open state is not anchored."""


class AnchoredWorkerState:
    """Implements :class:`sealyard.keyholder.state.WorkerState`: a state file that its freshness anchor follows."""

    def __init__(
        self, state: FileWorkerState, store: AnchorStore, codec: AnchorCodec, clock: Callable[[], float]
    ) -> None:
        """Wrap an open state whose anchor was checked. Use :meth:`open`."""
        self._state = state
        self._store = store
        self._codec = codec
        self._clock = clock
        self._saved = store.load()
        self._saved_at = clock() - ANCHOR_INTERVAL
        self._has_failed = False

    @classmethod
    def open(
        cls,
        state: FileWorkerState,
        places: AnchorPlaces,
        codec: AnchorCodec,
        *,
        created: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Check the freshness of an open state, and return the state with its anchor.

        A state that never had an anchor gets one. An anchor moves if another folder was configured. ``created``:
        whether the workspace is new, so that its first anchor needs no audit entry.

        Raises :class:`AnchorError` if the state is older than its anchor, another copy of it, or its anchor is missing
        or damaged, and a :class:`SealyardError` if the anchor cannot be read or written.
        """
        recorded = None if state.anchor_location == NO_ANCHOR else state.anchor_location
        store = places.select(recorded)
        content, old_store = store.load(), None
        if content is None and recorded not in (None, store.location):
            old_store = places.open(recorded)
            content = old_store.load()
        if content is None and recorded is not None:
            raise _missing_error(store.location, recorded)
        if content is not None:
            anchor = codec.decode(content, store.location)
            if (problem := compare(state, anchor)) is not None:
                raise _mismatch_error(problem, state, anchor)
        anchored_state = cls(state, store, codec, clock)
        anchored_state._start(recorded, created)
        if old_store is not None:
            old_store.delete()
        return anchored_state

    @property
    def info(self) -> WorkerStateInfo:
        return self._state.info

    @property
    def flush_delay(self) -> float | None:
        if self._is_anchored:
            return None
        return max(0.0, self._saved_at + ANCHOR_INTERVAL - self._clock())

    def record_intents(self, intents: Sequence[Intent]) -> list[SealyardError | None]:
        results = self._state.record_intents(intents)
        self._flush_if_due()
        return results

    def record_checkpoint(self, checkpoint: SignedCheckpoint, proof: Sequence[bytes]) -> None:
        self._state.record_checkpoint(checkpoint, proof)
        self._flush_if_due()

    @property
    def store_generation(self) -> StoreGeneration | None:
        return self._state.store_generation

    def record_store_generation(self, generation: StoreGeneration) -> None:
        self._state.record_store_generation(generation)
        self._flush_if_due()

    def record_audited(self) -> None:
        self._state.record_audited()

    def flush(self) -> None:
        """Write the anchor, if it does not match the end of the state.

        Raises :class:`AnchorError` if another process has written it.
        """
        if self._is_anchored:
            return
        self._saved_at = self._clock()
        self._has_failed = True
        if self._store.load() != self._saved:
            raise AnchorError(
                f"Another copy of this workspace is in use: its freshness anchor, {escape_text(self._store.location)},"
                " was changed by another process. Nothing is signed.",
                "End the processes that use the other copy, and recover the workspace with the one to use.",
            )
        content = self._codec.encode(self._create_anchor())
        self._store.save(content)
        self._saved = content
        self._has_failed = False

    def close(self) -> None:
        """Close the state. An anchor that was not flushed before is older than the state, but still valid."""
        self._state.close()

    @property
    def _is_anchored(self) -> bool:
        return self._saved == self._codec.encode(self._create_anchor())

    def _start(self, recorded: str | None, created: bool) -> None:
        """Record the place of the anchor, if it is new. The anchor exists before, so that a crash loses nothing."""
        self.flush()
        if self._store.location != recorded:
            self._state.record_anchor(self._store.location, initial=created)
            self.flush()

    def _flush_if_due(self) -> None:
        """Write the anchor if it is due. After a failure it is due for each request, so that none is answered."""
        if self._has_failed or self.flush_delay == 0.0:
            self.flush()

    def _create_anchor(self) -> Anchor:
        return create_anchor(self._state, self._codec)


def create_anchor(state: FileWorkerState, codec: AnchorCodec) -> Anchor:
    """Return the anchor of the end of the state."""
    position = state.position
    return Anchor(
        workspace=codec.workspace_id,
        epoch=position.epoch,
        records=position.records,
        last_mac=state.last_mac,
        audit_size=position.audit_size,
        audit_root=position.audit_root,
    )


def compare(state: FileWorkerState, anchor: Anchor) -> AnchorProblem | None:
    """Return why the state is not a continuation of the one that was anchored, None if it is."""
    if anchor.records > state.position.records:
        return AnchorProblem.AHEAD
    if state.find_mac(anchor.records) != anchor.last_mac:
        return AnchorProblem.DIVERGED
    return None


def _missing_error(location: str, recorded: str) -> AnchorError:
    return AnchorError(
        f"The workspace has no freshness anchor in {escape_text(location)}; it was kept in {escape_text(recorded)}."
        " The folder is a copy, or the anchor was removed. Nothing is signed.",
        Hint.of(HintCode.ADOPT_WORKSPACE),
    )


def _mismatch_error(problem: AnchorProblem, state: FileWorkerState, anchor: Anchor) -> AnchorError:
    position = state.position
    if problem is AnchorProblem.DIVERGED:
        return AnchorError(
            "The workspace is another copy of the one that was used last: its worker state differs from the freshness"
            " anchor. Nothing is signed.",
            Hint.of(HintCode.RECOVER_WORKSPACE),
        )
    return AnchorError(
        f"An older copy of the workspace was put back: its worker state has {position.records} records and its audit"
        f" log {position.audit_size} signed entries, but the freshness anchor knows {anchor.records} records and"
        f" {anchor.audit_size} entries. Nothing is signed.",
        Hint.of(HintCode.RECOVER_WORKSPACE),
    )
