"""A crypto worker, which the key holder has started, connected by pipes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from sealyard.concurrency.active_time import wait_active
from sealyard.jobs.framing import MAX_LINE_BYTES, decode_report, encode_line
from sealyard.jobs.holder_channel import StartedWorker
from sealyard.jobs.key_holder import KeyHolder
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import WorkerError, error_from_info
from sealyard.model.worker_messages import FromWorker, RefusedMeasure, WorkerReady, WorkerStartFailed

START_TIMEOUT = 20.0
"""Time in seconds that a worker has to open the key store."""

EXIT_TIMEOUT = 2.0
"""Time in seconds that a worker has to exit after a failed start, before it is killed."""


class WorkerProcess:
    """A running worker process that has opened the key store. Create it with :meth:`start`."""

    def __init__(self, worker: StartedWorker, pipes: _Pipes) -> None:
        self._worker = worker
        self._pipes = pipes
        self.refused_measures: tuple[RefusedMeasure, ...] = ()
        """The measures of confinement that the kernel refused to the worker."""

    @classmethod
    async def start(cls, key_holder: KeyHolder, log_path: Path) -> WorkerProcess:
        """Let the key holder start a worker process, and wait until it has opened the keys.

        Raises :class:`KeyStoreLockedError` if the key store is locked, the error that the worker reports, or
        :class:`WorkerError` if the worker cannot be started or does not send a valid response in time.
        """
        started_worker = await key_holder.start_worker()
        worker = cls(started_worker, await _Pipes.open(started_worker))
        try:
            await worker._handshake(log_path)
        except BaseException:
            worker.close_pipe()
            await worker.wait_exit(EXIT_TIMEOUT)
            raise
        return worker

    async def _handshake(self, log_path: Path) -> None:
        first_line_task = asyncio.ensure_future(self._pipes.reader.readline())
        try:
            if not await wait_active(first_line_task, START_TIMEOUT):
                self.kill()
                raise WorkerError("The crypto worker did not start in time.", f"See its log: {log_path}")
        finally:
            first_line_task.cancel()
        first_line = first_line_task.result()
        if not first_line:
            raise WorkerError("The crypto worker failed to start.", f"See its log: {log_path}")
        first_message = _try_decode(first_line)
        if isinstance(first_message, WorkerStartFailed):
            raise error_from_info(first_message.error)
        if not isinstance(first_message, WorkerReady):
            raise WorkerError("The crypto worker sent an unexpected message.", f"See its log: {log_path}")
        self.refused_measures = first_message.refused

    @property
    def pid(self) -> int:
        return self._worker.pid

    @property
    def name(self) -> str:
        return f"worker-{self.pid}"

    async def send(self, message: Any) -> None:
        """Send ``message``. Does nothing if the worker has closed its end of the pipe."""
        with contextlib.suppress(ConnectionError):
            self._pipes.writer.write(encode_line(message))
            await self._pipes.writer.drain()

    async def messages(self) -> AsyncIterator[FromWorker]:
        """Yield messages until the worker closes its end of the pipe or sends an invalid message."""
        with contextlib.suppress(ConnectionError, ValueError, *JSON_ERRORS):
            while line := await self._pipes.reader.readline():
                yield decode_report.decode(line)

    def close_pipe(self) -> None:
        """Close the worker's input pipe, which makes the worker exit."""
        self._pipes.writer.close()

    def kill(self) -> None:
        """Kill the process, through the key holder if it is running."""
        exit_future = self._worker.exit
        if not exit_future.done():
            self._worker.kill()
        elif not exit_future.result() and not self._pipes.output_closed.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def wait_exit(self, seconds: float) -> None:
        """Wait until the process has exited. Kills it if it has not exited within ``seconds``."""
        exit_task = asyncio.ensure_future(self._wait_exit())
        await asyncio.wait({exit_task}, timeout=seconds)
        if not exit_task.done():
            self.kill()
        await exit_task
        self._pipes.close()

    async def _wait_exit(self) -> None:
        """Wait until the key holder reports the exit or, if it has ended, until the worker's output pipe is closed.

        Only the worker has the other end of that pipe, so it is closed when the last thread of the worker has ended.
        """
        exit_future = asyncio.wrap_future(self._worker.exit)
        await asyncio.wait({exit_future})
        if not exit_future.result():
            await self._pipes.output_closed.wait()


class _Pipes:
    """This process's ends of a worker's pipes. ``output_closed``: set when the worker has closed its output."""

    def __init__(self, reader: asyncio.StreamReader, read_transport: asyncio.ReadTransport) -> None:
        self.reader = reader
        self.output_closed = asyncio.Event()
        self.writer: asyncio.StreamWriter
        self._read_transport = read_transport

    @classmethod
    async def open(cls, worker: StartedWorker) -> _Pipes:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(MAX_LINE_BYTES)
        output_file = os.fdopen(worker.output_fd, "rb", buffering=0)
        input_file = os.fdopen(worker.input_fd, "wb", buffering=0)
        read_transport, read_protocol = await loop.connect_read_pipe(lambda: _PipeProtocol(reader), output_file)
        write_transport, write_protocol = await loop.connect_write_pipe(
            lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), input_file
        )
        pipes = cls(reader, read_transport)
        read_protocol.on_close = pipes.output_closed.set
        pipes.writer = asyncio.StreamWriter(write_transport, write_protocol, reader, loop)
        return pipes

    def close(self) -> None:
        self.writer.close()
        self._read_transport.close()


class _PipeProtocol(asyncio.StreamReaderProtocol):
    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self.on_close: Callable[[], None] = _no_op

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.on_close()


def _no_op() -> None:
    return None


def _try_decode(line: bytes) -> FromWorker | None:
    try:
        return decode_report.decode(line)
    except JSON_ERRORS:
        return None
