"""Processes that own a workspace and serve clients, and which a test kills and starts again."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from sealyard.client.sharing.socket import is_responsive
from tests.support.ports import ReservedPort, accepts_connections
from tests.support.processes import find_by_environment, kill_all
from tests.support.root import ALLOW_ROOT

PASSPHRASE = "a canary among passphrases"
START_TIMEOUT = 60.0
STOP_TIMEOUT = 60.0
TERMINAL_SIZE = (40, 120)


class WorkspaceProcess(ABC):
    """A process that owns ``workspace`` while it runs. Each run appends its output to ``log``."""

    stop_code = 0
    """Exit code after SIGTERM."""

    def __init__(self, workspace: Path, log: Path, *, passphrase: str = PASSPHRASE) -> None:
        self._workspace = workspace
        self._log = log
        self._environment = {"SEALYARD_PASSPHRASE": passphrase, "SEALYARD_WORKSPACE": str(workspace)}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the process and wait until it serves clients."""
        self.launch()
        await self.wait_until_listening()

    def launch(self) -> None:
        """Start the process without waiting for it."""
        with self._log.open("ab") as log:
            self._process = self._start_process(log.fileno())

    async def wait_until_listening(self) -> None:
        async with asyncio.timeout(START_TIMEOUT):
            while not await self._is_listening():
                assert self._process is not None
                assert self._process.poll() is None, self._log.read_text(errors="replace")[-3000:]
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def stop(self) -> int:
        """Stop the process with SIGTERM; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, STOP_TIMEOUT)

    def close(self) -> None:
        """Kill the process, its key holder and its workers, if they still run."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        kill_all(find_by_environment(f"SEALYARD_WORKSPACE={self._workspace}\0"))

    @abstractmethod
    def _start_process(self, log_fd: int) -> subprocess.Popen[bytes]: ...

    @abstractmethod
    async def _is_listening(self) -> bool: ...


class ServerProcess(WorkspaceProcess):
    """`sealyard serve`, always at the same address."""

    def __init__(self, workspace: Path, log: Path, *, passphrase: str = PASSPHRASE) -> None:
        super().__init__(workspace, log, passphrase=passphrase)
        self._port = ReservedPort()
        self.port = self._port.number
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        super().close()
        self._port.close()

    def _start_process(self, log_fd: int) -> subprocess.Popen[bytes]:
        options = ["--listen", f"127.0.0.1:{self.port}", "--shutdown-timeout", "10s"]
        return subprocess.Popen(
            [sys.executable, "-m", "sealyard.cli.main", "serve", *ALLOW_ROOT, *options],
            env=os.environ | self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            start_new_session=True,
        )

    async def _is_listening(self) -> bool:
        return accepts_connections(self.port)


class ApplicationProcess(WorkspaceProcess):
    """The application in a pseudo-terminal, which other processes reach through the socket of the workspace."""

    stop_code = 128 + signal.SIGTERM

    def __init__(self, workspace: Path, log: Path, *, home: Path, profile: str, passphrase: str = PASSPHRASE) -> None:
        super().__init__(workspace, log, passphrase=passphrase)
        home.mkdir(exist_ok=True)
        self._environment |= {
            "HOME": str(home),
            "SEALYARD_DOWNLOAD_DIR": str(home / "downloads"),
            "SEALYARD_PROFILE": profile,
            "TERM": "xterm-256color",
        }

    def _start_process(self, log_fd: int) -> subprocess.Popen[bytes]:
        controller_fd, terminal_fd = pty.openpty()
        fcntl.ioctl(terminal_fd, termios.TIOCSWINSZ, struct.pack("HHHH", *TERMINAL_SIZE, 0, 0))
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "sealyard.cli.main"],
                env=os.environ | self._environment,
                stdin=terminal_fd,
                stdout=terminal_fd,
                stderr=terminal_fd,
                start_new_session=True,
            )
        finally:
            os.close(terminal_fd)
        threading.Thread(target=_copy_output, args=(controller_fd, os.dup(log_fd)), daemon=True).start()
        return process

    async def _is_listening(self) -> bool:
        return await is_responsive(self._workspace)


def _copy_output(controller_fd: int, log_fd: int) -> None:
    """Read what a program writes to its terminal until it closes it, because a full terminal would block it."""
    with suppress(OSError):
        while data := os.read(controller_fd, 65536):
            os.write(log_fd, data)
    os.close(controller_fd)
    os.close(log_fd)
