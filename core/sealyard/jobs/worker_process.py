"""A crypto worker as a child process, connected by pipes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sealyard.concurrency.active_time import wait_active
from sealyard.fs.private import make_private_dir, open_private_append
from sealyard.jobs.framing import MAX_LINE_BYTES, decode_report, encode_line
from sealyard.model.errors import WorkerError, error_from_info
from sealyard.model.worker_messages import FromWorker, OpenKeyStore, RefusedMeasure, WorkerReady, WorkerStartFailed

START_TIMEOUT = 20.0
"""Time in seconds that a worker has to open the key store."""

ALLOWED_VARIABLES = frozenset(
    {
        "DBUS_SESSION_BUS_ADDRESS",  # with DISPLAY, for the OS keyring
        "DISPLAY",
        "DYLD_LIBRARY_PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "SEALYARD_WORKSPACE",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
        "WAYLAND_DISPLAY",
    }
)
"""Environment variables that a worker inherits; see also :data:`ALLOWED_VARIABLE_PREFIXES`."""

ALLOWED_VARIABLE_PREFIXES = ("LC_", "PYTHON", "XDG_")

EXIT_TIMEOUT = 2.0
"""Time in seconds that a worker has to exit after a failed start, before it is killed."""


class WorkerProcess:
    """A running worker process that has opened the key store. Create it with :meth:`start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self.refused_measures: tuple[RefusedMeasure, ...] = ()
        """The measures of confinement that the kernel refused to the worker."""

    @classmethod
    async def start(cls, open_key_store: OpenKeyStore, log_path: Path) -> WorkerProcess:
        """Start a worker process and wait until it has opened the key store.

        Raises the error that the worker reports, for example :class:`KeyStoreLockedError`, or :class:`WorkerError` if
        the worker cannot be started or does not send a valid response in time.
        """
        worker = cls(await _start_process(log_path))
        try:
            await worker._handshake(open_key_store, log_path)
        except BaseException:
            worker.close_pipe()
            await worker.wait_exit(EXIT_TIMEOUT)
            raise
        return worker

    async def _handshake(self, open_key_store: OpenKeyStore, log_path: Path) -> None:
        await self.send(open_key_store)
        first_line_task = asyncio.ensure_future(self._stdout.readline())
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
        return self._process.pid

    @property
    def name(self) -> str:
        return f"worker-{self.pid}"

    async def send(self, message: Any) -> None:
        """Send ``message``. Does nothing if the worker has closed its end of the pipe."""
        with contextlib.suppress(ConnectionError):
            self._stdin.write(encode_line(message))
            await self._stdin.drain()

    async def messages(self) -> AsyncIterator[FromWorker]:
        """Yield messages until the worker closes its end of the pipe or sends an invalid message."""
        with contextlib.suppress(ConnectionError, ValueError, msgspec.MsgspecError):
            while line := await self._stdout.readline():
                yield decode_report.decode(line)

    def close_pipe(self) -> None:
        """Close the worker's input pipe, which makes the worker exit."""
        self._stdin.close()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def wait_exit(self, seconds: float) -> None:
        """Wait until the process has exited. Kills it if it has not exited within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()


def _try_decode(line: bytes) -> FromWorker | None:
    try:
        return decode_report.decode(line)
    except msgspec.MsgspecError:
        return None


def select_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a worker may see.

    The engine's environment can contain the secrets of other workspaces, under names that this module does not know.
    """
    return {
        name: value
        for name, value in environ.items()
        if name in ALLOWED_VARIABLES or name.startswith(ALLOWED_VARIABLE_PREFIXES)
    }


async def _start_process(log_path: Path) -> asyncio.subprocess.Process:
    """Start the worker. Raises :class:`WorkerError` if its process cannot be started or its log cannot be opened."""
    try:
        return await _create_subprocess(log_path)
    except OSError as error:
        raise WorkerError(f"Cannot start the crypto worker: {error.strerror}.", f"See its log: {log_path}") from error


async def _create_subprocess(log_path: Path) -> asyncio.subprocess.Process:
    make_private_dir(log_path.parent)
    with os.fdopen(open_private_append(log_path), "ab") as log_file:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # do not import modules from the current directory
            "-m",
            "sealyard.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log_file,
            env=select_environment(os.environ),
            start_new_session=True,
            limit=MAX_LINE_BYTES,
        )
