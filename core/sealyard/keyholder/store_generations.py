"""The engine's requests to the worker state: the recorded generation of the store."""

from __future__ import annotations

from sealyard.keyholder.connection import ParentConnection
from sealyard.keyholder.state_queue import StateQueue, to_sealyard_error
from sealyard.model.key_holder_messages import GetStoreGeneration, RecordStoreGeneration, StoreGenerationResponse


class StoreGenerations:
    """Handles the requests of the engine. It is a user of the worker state from the first one until :meth:`release`."""

    def __init__(self, parent: ParentConnection, state: StateQueue) -> None:
        self._parent = parent
        self._state = state
        self._is_user = False

    def handle(self, request: GetStoreGeneration | RecordStoreGeneration) -> None:
        generation = request.generation if isinstance(request, RecordStoreGeneration) else None
        try:
            if not self._is_user:
                self._state.open()
                self._is_user = True
            recorded = self._state.update_store_generation(generation)
            response = StoreGenerationResponse(request_id=request.request_id, generation=recorded)
        except Exception as error:
            response = StoreGenerationResponse(request_id=request.request_id, error=to_sealyard_error(error).to_info())
        self._parent.send(response)

    def release(self) -> None:
        if self._is_user:
            self._is_user = False
            self._state.close()
