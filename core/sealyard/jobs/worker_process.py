"""One crypto worker as a child process on a pair of pipes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from sealyard.jobs.framing import MAX_LINE_BYTES, decode_report, encode_line
from sealyard.model.errors import WorkerError, error_from_info
from sealyard.model.worker_messages import FromWorker, OpenKeyStore, WorkerReady, WorkerStartFailed

START_TIMEOUT = 20.0
EXIT_TIMEOUT = 2.0


class WorkerProcess:
    """A running worker whose key store is open."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._input = process.stdin
        self._output = process.stdout

    @classmethod
    async def start(cls, unlock: OpenKeyStore, log: Path) -> WorkerProcess:
        """Raises what the worker says, :class:`KeyStoreLockedError` for one, or :class:`WorkerError`."""
        child = cls(await _spawned(log))
        try:
            await child._handshake(unlock, log)
        except BaseException:
            child.close_pipe()
            await child.wait_exit(EXIT_TIMEOUT)
            raise
        return child

    async def _handshake(self, unlock: OpenKeyStore, log: Path) -> None:
        await self.send(unlock)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                first = await self._output.readline()
        except TimeoutError:
            self.kill()
            raise WorkerError("The crypto worker did not start in time.", f"Its log: {log}") from None
        if not first:
            raise WorkerError("The crypto worker could not start.", f"Its log says why: {log}")
        greeting = _decode(first)
        if isinstance(greeting, WorkerStartFailed):
            raise error_from_info(greeting.error)
        if not isinstance(greeting, WorkerReady):
            raise WorkerError("The crypto worker answered out of turn.", f"Its log says more: {log}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def name(self) -> str:
        return f"worker-{self.pid}"

    async def send(self, message: Any) -> None:
        with contextlib.suppress(ConnectionError):
            self._input.write(encode_line(message))
            await self._input.drain()

    async def messages(self) -> AsyncIterator[FromWorker]:
        """Until the worker's end of the pipe closes, or it says what cannot be understood."""
        with contextlib.suppress(ConnectionError, ValueError, msgspec.MsgspecError):
            while text := await self._output.readline():
                yield decode_report.decode(text)

    def close_pipe(self) -> None:
        """Closes the pipe, which is what makes a worker leave."""
        self._input.close()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def wait_exit(self, seconds: float) -> None:
        """Waits until the process has ended; kills one that has not within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()


def _decode(text: bytes) -> FromWorker | None:
    try:
        return decode_report.decode(text)
    except msgspec.MsgspecError:
        return None


async def _spawned(log: Path) -> asyncio.subprocess.Process:
    """Raises :class:`WorkerError` where the system refuses another process, or the log cannot be written."""
    try:
        return await _exec(log)
    except OSError as error:
        raise WorkerError(f"The crypto worker could not be started: {error.strerror}.", f"Its log: {log}") from error


async def _exec(log: Path) -> asyncio.subprocess.Process:
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = {key: value for key, value in os.environ.items() if key != "SEALYARD_PASSPHRASE"}
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as errors:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "sealyard.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
            limit=MAX_LINE_BYTES,
        )
