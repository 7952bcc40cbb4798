"""The key holder of a workspace, as seen by the process that starts it.

The key holder is a child process (:mod:`sealyard.keyholder`) that reads the passphrase itself, holds the master key,
and starts the crypto workers. This process never has the passphrase or the master key.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Self

import msgspec

from sealyard.concurrency.active_time import wait_active
from sealyard.fs.private import open_log
from sealyard.jobs.environment import select_environment
from sealyard.jobs.holder_channel import HolderChannel, StartedWorker
from sealyard.model.errors import KeyStoreLockedError, SealyardError, WorkerError, WorkspaceError
from sealyard.model.key_holder_messages import (
    EngineKeys,
    KeyHolderReady,
    KeyStoreLocation,
    OpenKeyHolder,
    PassphraseSource,
    ReleaseWorkerState,
    StateReport,
    StoreGeneration,
)
from sealyard.model.workspace import KeyStore, WorkspacePaths
from sealyard.model.zones import Enrollment, ZoneIdentity

OPEN_TIMEOUT = 20.0
"""Time in seconds that a key holder has to open the key store, without the time in which it prompts the user."""

EXIT_TIMEOUT = 2.0
"""Time in seconds that a key holder has to exit after its channel was closed, before it is killed."""

RESTART_INTERVAL = 5.0
"""Seconds after a failed restart during which it is not tried again."""

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"

KeyHolderFactory = Callable[[KeyStoreLocation], "KeyHolder"]
"""Starts the key holder of a key store."""


class KeyHolder:
    """The key holder process of one workspace. Create it with :meth:`start`; any thread may use it.

    If the process dies, all its workers exit, and the next call of :meth:`start_worker` starts it again. That works
    only if the new process finds the passphrase, or the master key, without a prompt.
    """

    def __init__(self, request: OpenKeyHolder, environment: Mapping[str, str], passphrase_fd: int | None) -> None:
        """Start the process; see :meth:`start`."""
        self._request = request
        self._log_path = WorkspacePaths(Path(request.location.workspace)).worker_log
        self._lock = threading.Lock()
        self._closed = False
        self._restart_error: SealyardError | None = None
        self._failed_at = 0.0
        self._was_restarted = False
        self._process, self._channel = self._start_process(request, environment, passphrase_fd)

    @classmethod
    def start(
        cls,
        location: KeyStoreLocation,
        *,
        source: PassphraseSource = PassphraseSource.ENVIRONMENT,
        environment: Mapping[str, str] | None = None,
        passphrase_fd: int | None = None,
        tenant: str = "",
        prompt: str = "",
        attempts: int = 1,
        may_recover: bool = False,
        enrollment: Enrollment | None = None,
    ) -> Self:
        """Start the key holder, without waiting until it has opened the key store.

        ``environment``: variables for the key holder in addition to those of a worker; the object does not keep them.
        ``passphrase_fd``: for :attr:`PassphraseSource.DESCRIPTOR`; the caller closes it. See :class:`OpenKeyHolder`
        for the other parameters. After :attr:`PassphraseSource.TERMINAL`, call :meth:`wait_for_terminal` before this
        process uses the terminal.

        Raises :class:`WorkerError` if the process cannot be started.
        """
        request = OpenKeyHolder(
            location=location,
            source=source,
            tenant=tenant,
            prompt=prompt,
            attempts=attempts,
            may_recover=may_recover,
            enrollment=enrollment,
        )
        return cls(request, environment or {}, passphrase_fd)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for_terminal(self) -> None:
        """Wait until the key holder no longer uses the terminal; it may prompt the user before.

        If the call is interrupted, for example by Ctrl-C, ends the key holder, which restores the terminal. Raises
        :class:`KeyStoreLockedError` and other errors of the key holder if it could not open the key store.
        """
        try:
            self._channel.terminal_released.result()
            if self._channel.ready.done():
                self._channel.ready.result()
        except BaseException:
            self.abort()
            raise

    async def wait_until_open(self) -> None:
        """Wait until the key store is open. Raises the error that prevents it."""
        await self._wait_until_open(self._channel)

    async def get_engine_keys(self) -> EngineKeys:
        """Return the keys of the engine, once the key store is open.

        Raises :class:`WorkspaceError` if the folder is that of a crypto host, and the errors of :meth:`start_worker`.
        """
        keys = (await self._wait_until_open(await asyncio.to_thread(self._ensure_running))).keys
        if keys is None:
            raise WorkspaceError("The folder is that of a crypto host, not a workspace.", "Use another folder.")
        return keys

    async def get_zone_identity(self) -> ZoneIdentity:
        """Return what the key store of a crypto host has pinned, once it is open.

        Raises :class:`WorkspaceError` if the folder is a workspace, and the errors of :meth:`start_worker`.
        """
        zone = (await self._wait_until_open(await asyncio.to_thread(self._ensure_running))).zone
        if zone is None:
            raise WorkspaceError("The folder is a workspace, not that of a crypto host.", "Use another folder.")
        return zone

    async def update_store_generation(self, generation: StoreGeneration | None) -> StoreGeneration | None:
        """Record a generation of the store in the worker state, unless it is None, and return the recorded one.

        The worker state stays open until :meth:`release_worker_state`. Raises :class:`WorkerStateError` if the
        generation does not follow the recorded one or the state is damaged, and the errors of :meth:`start_worker`.
        """
        channel = await asyncio.to_thread(self._ensure_running)
        await self._wait_until_open(channel)
        return await asyncio.wrap_future(channel.update_store_generation(generation))

    def release_worker_state(self) -> None:
        """Let another process use the worker state, once no worker runs."""
        self._channel.send(ReleaseWorkerState())

    async def start_worker(self) -> StartedWorker:
        """Start a crypto worker. Starts the key holder again if it has died.

        Raises :class:`KeyStoreLockedError` if the key store cannot be opened, and :class:`WorkerError` if the worker
        or the key holder cannot be started.
        """
        channel = await asyncio.to_thread(self._ensure_running)
        await self._wait_until_open(channel)
        future = channel.start_worker()
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(_discard_worker)
            raise

    async def inspect_state(self, audit_size: int = 0) -> StateReport:
        """Compare the worker state with its freshness anchor. No worker must be running.

        ``audit_size``: size of the checkpoint of the audit log after which intents are counted. Raises
        :class:`WorkerStateError` if the state is damaged, and the errors of :meth:`wait_until_open`.
        """
        await self._wait_until_open(self._channel)
        report = await asyncio.wrap_future(self._channel.inspect_state(audit_size))
        assert report is not None
        return report

    async def recover_state(self, note: str, *, generation: StoreGeneration | None = None, adopt: bool) -> StateReport:
        """Start a new epoch of the worker state, and write its anchor. No worker must be running.

        See :class:`~sealyard.model.key_holder_messages.RecoverState` for the parameters. Raises :class:`ConflictError`
        if the state has no valid anchor, :class:`AuditVerificationError` if the audit key did not sign ``note``, and
        :class:`PermissionDeniedError` unless the key holder was started with ``may_recover``.
        """
        report = await asyncio.wrap_future(self._channel.recover_state(note, generation, adopt=adopt))
        assert report is not None
        return report

    def close(self) -> None:
        """End the key holder and its workers, and wait until it has exited."""
        with self._lock:
            self._closed = True
            self._end_process(EXIT_TIMEOUT)

    def abort(self) -> None:
        """End the key holder at once, also while it prompts the user. It restores the terminal."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        self.close()

    async def _wait_until_open(self, channel: HolderChannel) -> KeyHolderReady:
        ready = asyncio.wrap_future(channel.ready)
        if not await wait_active(ready, OPEN_TIMEOUT):
            raise WorkerError("The key holder did not open the key store in time.", f"See its log: {self._log_path}")
        try:
            return await ready
        except SealyardError as error:
            self._remember_failure(error)
            raise

    def _ensure_running(self) -> HolderChannel:
        """Return the channel of the running process; start the process again if it has ended."""
        with self._lock:
            if self._closed:
                raise WorkerError("The key holder was closed.", "Open the workspace again.")
            if not self._channel.is_closed:
                return self._channel
            self._raise_start_error()
            if self._restart_error is not None and time.monotonic() < self._failed_at + RESTART_INTERVAL:
                raise self._restart_error
            self._end_process(EXIT_TIMEOUT)
            self._was_restarted = True
            location = msgspec.structs.replace(self._request.location, create=False)
            source = PassphraseSource.ENVIRONMENT
            request = msgspec.structs.replace(
                self._request, location=location, source=source, reopen=True, enrollment=None
            )
            credentials = os.environ.get(CREDENTIALS_VARIABLE)
            environment = {} if credentials is None else {CREDENTIALS_VARIABLE: credentials}
            self._process, self._channel = self._start_process(request, environment, None)
            return self._channel

    def _raise_start_error(self) -> None:
        """Raise the error of a process that never opened the key store: another one would have no other passphrase.

        The OS keyring can have been unlocked in the meantime.
        """
        ready = self._channel.ready
        if self._request.location.key_store == KeyStore.PASSPHRASE and not self._was_restarted:
            error = ready.exception() if ready.done() else None
            if isinstance(error, SealyardError):
                raise error

    def _remember_failure(self, error: SealyardError) -> None:
        self._restart_error, self._failed_at = error, time.monotonic()

    def _start_process(
        self, request: OpenKeyHolder, environment: Mapping[str, str], passphrase_fd: int | None
    ) -> tuple[subprocess.Popen[bytes], HolderChannel]:
        own_end, child_end = socket.socketpair()
        arguments = [str(child_end.fileno())]
        inherited_fds = [child_end.fileno()]
        if passphrase_fd is not None:
            arguments.append(str(passphrase_fd))
            inherited_fds.append(passphrase_fd)
        uses_terminal = request.source is PassphraseSource.TERMINAL
        try:
            with os.fdopen(open_log(self._log_path), "ab") as log_file:
                process = subprocess.Popen(
                    [sys.executable, "-m", "sealyard.keyholder", *arguments],
                    stdin=None if uses_terminal else subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    # The prompt appears on standard error if the process has no controlling terminal.
                    stderr=None if uses_terminal else log_file,
                    env={**select_environment(os.environ), **environment},
                    pass_fds=inherited_fds,
                )
        except OSError as error:
            own_end.close()
            raise WorkerError(
                f"Cannot start the key holder: {error.strerror}.", f"See its log: {self._log_path}"
            ) from error
        finally:
            child_end.close()
        channel = HolderChannel(own_end, self._lost_error)
        channel.send(request)
        return process, channel

    def _lost_error(self) -> SealyardError:
        if self._request.source is PassphraseSource.ENVIRONMENT:
            return WorkerError("The key holder exited unexpectedly.", f"See its log: {self._log_path}")
        return KeyStoreLockedError(
            "The key holder exited unexpectedly, so the key store is locked.",
            f"Start Sealyard again to open the key store. The log of the key holder is {self._log_path}.",
        )

    def _end_process(self, seconds: float) -> None:
        self._channel.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _discard_worker(future: Future[StartedWorker]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().discard()
