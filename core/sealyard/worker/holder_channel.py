"""The worker's private channel to the key holder.

When the key holder ends, the process exits immediately, even in the middle of a job.
"""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from collections.abc import Callable

import msgspec

from sealyard.fs.atomic import write_all
from sealyard.jobs.framing import encode_line
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import error_from_info
from sealyard.model.key_holder_messages import (
    GetWorkerState,
    HolderResponse,
    KeyHolderToWorker,
    OpenKeys,
    RecordAudited,
    RecordCheckpoint,
    RecordIntent,
    WorkerStateInfo,
    WorkerToKeyHolder,
)

_decoder: msgspec.json.Decoder[KeyHolderToWorker] = msgspec.json.Decoder(KeyHolderToWorker)


class HolderChannel:
    """Receives messages through a reader thread, and sends requests. Used on one event loop only."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lines = os.fdopen(fd, "rb", closefd=False)
        self._last_request_id = 0
        self._futures: dict[int, asyncio.Future[HolderResponse]] = {}

    def start(self) -> None:
        """Start the reader thread. Must be called on the event loop that receives the messages."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._read, args=(loop,), name="key-holder", daemon=True).start()

    def receive_keys(self) -> OpenKeys:
        """Wait for the first message, before :meth:`start`. The process exits if the key holder sends no valid one."""
        line = self._lines.readline()
        try:
            message = _decoder.decode(line)
        except JSON_ERRORS:
            if line:
                traceback.print_exc()
            os._exit(0)
        if not isinstance(message, OpenKeys):
            os._exit(0)
        return message

    async def record_intent(self, task_id: str, fencing_token: int, sha256: str) -> None:
        """Record durably what is about to be signed for a task.

        Raises :class:`ConflictError` if the task has signed other bytes, or a job of this or a later attempt has signed
        already, and :class:`StorageError` if the state cannot be written.
        """
        await self._request(
            lambda request_id: RecordIntent(
                request_id=request_id, task_id=task_id, fencing_token=fencing_token, sha256=sha256
            )
        )

    async def record_checkpoint(self, size: int, root: str, proof: tuple[str, ...]) -> None:
        """Record a checkpoint that is about to be signed.

        Raises :class:`AuditVerificationError` if ``proof`` does not show that it extends the last signed one.
        """
        await self._request(
            lambda request_id: RecordCheckpoint(request_id=request_id, size=size, root=root, proof=proof)
        )

    async def get_state(self) -> WorkerStateInfo:
        response = await self._request(lambda request_id: GetWorkerState(request_id=request_id))
        assert response.state is not None
        return response.state

    async def record_audited(self) -> None:
        """Record that the audit log has an entry for each event of the worker state that needs one."""
        await self._request(lambda request_id: RecordAudited(request_id=request_id))

    async def _request(self, create: Callable[[int], WorkerToKeyHolder]) -> HolderResponse:
        self._last_request_id += 1
        request_id = self._last_request_id
        future: asyncio.Future[HolderResponse] = asyncio.get_running_loop().create_future()
        self._futures[request_id] = future
        try:
            self._send(create(request_id))
            response = await future
        finally:
            del self._futures[request_id]
        if response.error is not None:
            raise error_from_info(response.error)
        return response

    def _send(self, request: WorkerToKeyHolder) -> None:
        try:
            # The messages are shorter than the buffer of the channel, so this does not block the loop for long.
            write_all(self._fd, encode_line(request))
        except OSError:
            # The key holder has ended, which the reader thread has not noticed yet. The job must not fail for it.
            os._exit(0)

    def _dispatch(self, message: KeyHolderToWorker) -> None:
        if isinstance(message, HolderResponse):
            future = self._futures.get(message.request_id)
            if future is not None and not future.done():
                future.set_result(message)

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for line in self._lines:
                loop.call_soon_threadsafe(self._dispatch, _decoder.decode(line))
        except (OSError, *JSON_ERRORS):
            traceback.print_exc()
        finally:
            os._exit(0)
