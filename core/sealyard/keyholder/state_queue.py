"""Requests to the worker state, handled by one thread, so that waiting intents share one sync."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Sequence

from sealyard.keyholder.state import Intent, SignedCheckpoint, WorkerState
from sealyard.model.errors import InvalidInputError, SealyardError, WorkerError, WorkerStateError
from sealyard.model.key_holder_messages import (
    GetWorkerState,
    HolderResponse,
    RecordAudited,
    RecordCheckpoint,
    RecordIntent,
    StoreGeneration,
    WorkerToKeyHolder,
)

Reply = Callable[[HolderResponse], None]


class StateQueue:
    """Keeps the worker state open while it has users, which are workers and the engine, and handles their requests."""

    def __init__(self, open_state: Callable[[], WorkerState]) -> None:
        """``open_state``: opens the state; raises a :class:`SealyardError` if that is not possible."""
        self._open_state = open_state
        self._state: WorkerState | None = None
        self._user_count = 0
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[tuple[WorkerToKeyHolder, Reply]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="worker-state", daemon=True).start()

    def open(self) -> None:
        """Open the state for one more user. Raises the error that prevents it."""
        with self._lock:
            if self._state is None:
                self._state = self._open_state()
            self._user_count += 1

    def close(self) -> None:
        """Close the state for one user. After the last one, the key holder of another process can open it."""
        with self._lock:
            self._user_count -= 1
            if self._user_count == 0 and self._state is not None:
                self._flush(self._state)
                self._state.close()
                self._state = None

    def flush(self) -> None:
        """Write what was deferred, if the state is open."""
        with self._lock:
            if self._state is not None:
                self._flush(self._state)

    def update_store_generation(self, generation: StoreGeneration | None) -> StoreGeneration | None:
        """Record a generation of the store, unless it is None, and return the recorded one.

        The state must be open. Raises a :class:`SealyardError` if the generation is refused or cannot be written.
        """
        with self._lock:
            state = self._require_state()
            if generation is not None:
                state.record_store_generation(generation)
            return state.store_generation

    def submit(self, request: WorkerToKeyHolder, reply: Reply) -> None:
        """Handle the request in another thread, and then call ``reply`` there."""
        self._requests.put((request, reply))

    def _run(self) -> None:
        while True:
            batch = self._wait_for_batch()
            with self._lock:
                if batch:
                    self._handle_batch(batch)
                elif self._state is not None:
                    self._flush(self._state)

    def _wait_for_batch(self) -> list[tuple[WorkerToKeyHolder, Reply]]:
        """Return the next requests, or none when the state has to be flushed."""
        state = self._state
        try:
            batch = [self._requests.get(timeout=None if state is None else state.flush_delay)]
        except queue.Empty:
            return []
        while not self._requests.empty():
            batch.append(self._requests.get())
        return batch

    def _flush(self, state: WorkerState) -> None:
        try:
            state.flush()
        except Exception:
            # The next request of a worker repeats it, and fails if it fails again.
            traceback.print_exc()

    def _handle_batch(self, batch: Sequence[tuple[WorkerToKeyHolder, Reply]]) -> None:
        intents: list[tuple[RecordIntent, Reply]] = []
        for request, reply in batch:
            if isinstance(request, RecordIntent):
                intents.append((request, reply))
            else:
                reply(self._respond(request))
        if intents:
            self._record_intents(intents)

    def _record_intents(self, requests: Sequence[tuple[RecordIntent, Reply]]) -> None:
        intents = [
            Intent(task_id=request.task_id, fencing_token=request.fencing_token, sha256=request.sha256)
            for request, _ in requests
        ]
        results: Sequence[SealyardError | None]
        try:
            results = self._require_state().record_intents(intents)
        except Exception as error:
            results = [to_sealyard_error(error)] * len(requests)
        for (request, reply), failure in zip(requests, results, strict=True):
            info = None if failure is None else failure.to_info()
            reply(HolderResponse(request_id=request.request_id, error=info))

    def _respond(self, request: RecordCheckpoint | GetWorkerState | RecordAudited) -> HolderResponse:
        try:
            state = self._require_state()
            if isinstance(request, RecordCheckpoint):
                checkpoint = SignedCheckpoint(size=request.size, root=request.root)
                state.record_checkpoint(checkpoint, _decode_proof(request.proof))
            elif isinstance(request, RecordAudited):
                state.record_audited()
            return HolderResponse(request_id=request.request_id, state=state.info)
        except Exception as error:
            return HolderResponse(request_id=request.request_id, error=to_sealyard_error(error).to_info())

    def _require_state(self) -> WorkerState:
        if self._state is None:
            raise WorkerStateError("The worker state is closed.", "Open the workspace again.")
        return self._state


def _decode_proof(proof: Sequence[str]) -> list[bytes]:
    try:
        return [bytes.fromhex(each) for each in proof]
    except ValueError:
        raise InvalidInputError("The consistency proof is not hexadecimal.") from None


def to_sealyard_error(error: Exception) -> SealyardError:
    """Return the error to report to another process, and write an unexpected one to the log."""
    if isinstance(error, SealyardError):
        return error
    # The traceback goes to the log only.
    traceback.print_exception(error)
    return WorkerError(f"The key holder failed unexpectedly ({type(error).__name__}).", "See the worker log.")
