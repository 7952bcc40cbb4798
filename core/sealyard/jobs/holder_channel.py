"""The connection to a key holder process: one message per line, read by a thread of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import msgspec

from sealyard.jobs.framing import encode_line
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import ErrorInfo, SealyardError, error_from_info
from sealyard.model.key_holder_messages import (
    FromKeyHolder,
    GetStoreGeneration,
    InspectState,
    KeyHolderFailed,
    KeyHolderReady,
    KillWorker,
    RecordStoreGeneration,
    RecoverState,
    StartWorker,
    StartWorkerFailed,
    StateInspected,
    StateReport,
    StoreGeneration,
    StoreGenerationResponse,
    TerminalReleased,
    WorkerExited,
    WorkerStarted,
)

T = TypeVar("T")

_CHUNK_BYTES = 65536
_MAX_FDS = 16
_FDS_PER_WORKER = 2

_decoder: msgspec.json.Decoder[FromKeyHolder] = msgspec.json.Decoder(FromKeyHolder)


class StartedWorker:
    """A worker that the key holder has started, with this process's ends of its pipes.

    ``exit``: resolved with True when the worker has exited, or with False if the key holder has ended first. The worker
    then exits without being asked, which closes its output pipe.
    """

    def __init__(self, pid: int, input_fd: int, output_fd: int, channel: HolderChannel) -> None:
        self.pid = pid
        self.input_fd = input_fd
        self.output_fd = output_fd
        self.exit: Future[bool] = Future()
        self._channel = channel

    def discard(self) -> None:
        """End a worker that is not needed, by closing its pipes."""
        os.close(self.input_fd)
        os.close(self.output_fd)

    def kill(self) -> None:
        """Ask the key holder to kill the worker."""
        self._channel.send(KillWorker(pid=self.pid))


class HolderChannel:
    """Sends requests to one key holder process, and resolves futures with its answers.

    ``ready`` and ``terminal_released``: resolved by the messages of these names. If the key store cannot be opened,
    ``ready`` has the error. ``create_lost_error``: returns the error of the open requests when the process ends.
    """

    def __init__(self, connection: socket.socket, create_lost_error: Callable[[], SealyardError]) -> None:
        self.ready: Future[KeyHolderReady] = Future()
        self.terminal_released: Future[None] = Future()
        self._socket = connection
        self._create_lost_error = create_lost_error
        self._send_lock = threading.Lock()
        self._state_lock = threading.Lock()
        self._is_closed = False
        self._last_request_id = 0
        self._start_futures: dict[int, Future[StartedWorker]] = {}
        self._generation_futures: dict[int, Future[StoreGeneration | None]] = {}
        self._report_futures: dict[int, Future[StateReport | None]] = {}
        self._workers: dict[int, StartedWorker] = {}
        self._received_fds: list[int] = []
        threading.Thread(target=self._read, name="key-holder", daemon=True).start()

    @property
    def is_closed(self) -> bool:
        """Whether the key holder has ended or failed to open the key store."""
        return self._is_closed

    def send(self, message: Any) -> None:
        """Send ``message``. Does nothing if the key holder has ended."""
        with contextlib.suppress(OSError), self._send_lock:
            self._socket.sendall(encode_line(message))

    def start_worker(self) -> Future[StartedWorker]:
        return self._request(self._start_futures, lambda number: StartWorker(request_id=number))

    def update_store_generation(self, generation: StoreGeneration | None) -> Future[StoreGeneration | None]:
        """Record a generation of the store, unless it is None; the result is the recorded one."""
        if generation is None:
            return self._request(self._generation_futures, lambda number: GetStoreGeneration(request_id=number))
        return self._request(
            self._generation_futures,
            lambda number: RecordStoreGeneration(request_id=number, generation=generation),
        )

    def inspect_state(self, audit_size: int) -> Future[StateReport | None]:
        return self._request(
            self._report_futures, lambda number: InspectState(request_id=number, audit_size=audit_size)
        )

    def recover_state(
        self, note: str, generation: StoreGeneration | None, *, adopt: bool
    ) -> Future[StateReport | None]:
        return self._request(
            self._report_futures,
            lambda number: RecoverState(request_id=number, note=note, generation=generation, adopt=adopt),
        )

    def _request(self, futures: dict[int, Future[T]], create: Callable[[int], Any]) -> Future[T]:
        """Send the request that ``create`` returns for a number, and return the future of its answer."""
        future: Future[T] = Future()
        with self._state_lock:
            if self._is_closed:
                future.set_exception(self._create_lost_error())
                return future
            self._last_request_id += 1
            futures[self._last_request_id] = future
            request = create(self._last_request_id)
        self.send(request)
        return future

    def close(self) -> None:
        """Close the connection, which ends the key holder and its workers."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        buffer = b""
        try:
            while data := self._receive():
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self._dispatch(_decoder.decode(line))
        except (OSError, *JSON_ERRORS):
            pass
        finally:
            self._end()

    def _receive(self) -> bytes:
        data, fds, _, _ = socket.recv_fds(self._socket, _CHUNK_BYTES, _MAX_FDS)
        for fd in fds:
            os.set_inheritable(fd, False)
        self._received_fds += fds
        return data

    def _dispatch(self, message: FromKeyHolder) -> None:
        match message:
            case TerminalReleased():
                self.terminal_released.set_result(None)
            case KeyHolderReady():
                self.ready.set_result(message)
            case KeyHolderFailed(error=info):
                self.ready.set_exception(error_from_info(info))
                self._is_closed = True
            case WorkerStarted(request_id=request_id, pid=pid):
                self._add_worker(request_id, pid)
            case StartWorkerFailed(request_id=request_id, error=info):
                _reject(self._start_futures.pop(request_id), info)
            case StoreGenerationResponse(request_id=request_id, generation=generation, error=info):
                _resolve(self._generation_futures.pop(request_id), generation, info)
            case StateInspected(request_id=request_id, report=report, error=info):
                _resolve(self._report_futures.pop(request_id), report, info)
            case WorkerExited(pid=pid):
                if (worker := self._workers.pop(pid, None)) is not None:
                    worker.exit.set_result(True)

    def _add_worker(self, request_id: int, pid: int) -> None:
        input_fd, output_fd = self._received_fds[:_FDS_PER_WORKER]
        del self._received_fds[:_FDS_PER_WORKER]
        worker = self._workers[pid] = StartedWorker(pid, input_fd, output_fd, self)
        future = self._start_futures.pop(request_id)
        if future.set_running_or_notify_cancel():
            future.set_result(worker)
        else:
            worker.discard()

    def _end(self) -> None:
        """Resolve all open futures, because the key holder has ended."""
        error = self._create_lost_error()
        if not self.ready.done():
            self.ready.set_exception(error)
        with self._state_lock:
            self._is_closed = True
        open_futures: list[Future[Any]] = [
            *self._start_futures.values(),
            *self._generation_futures.values(),
            *self._report_futures.values(),
        ]
        for future in open_futures:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        if not self.terminal_released.done():
            self.terminal_released.set_result(None)
        for worker in self._workers.values():
            worker.exit.set_result(False)
        for fd in self._received_fds:
            os.close(fd)
        with self._send_lock:
            self._socket.close()


def _resolve(future: Future[T], result: T, info: ErrorInfo | None) -> None:
    """Resolve the future of a request with its result, or with the error that ``info`` describes."""
    if info is not None:
        _reject(future, info)
    elif future.set_running_or_notify_cancel():
        future.set_result(result)


def _reject(future: Future[T], info: ErrorInfo) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(error_from_info(info))
