"""Run `sealyard serve` in its own process, which can be killed and restarted at the same address."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.ports import ReservedPort
from tests.support.processes import find_by_environment, kill_all
from tests.support.root import ALLOW_ROOT

PASSPHRASE = "a passphrase for tests"
START_TIMEOUT = 60.0


class ServerProcess:
    """Each run appends its output to ``log``."""

    def __init__(self, workspace: Path, log: Path, *, passphrase: str = PASSPHRASE) -> None:
        self._port = ReservedPort()
        self.port = self._port.number
        self.url = f"http://127.0.0.1:{self.port}"
        self._workspace = workspace
        self._log = log
        self._passphrase = passphrase
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Start the server and wait until it listens."""
        self.launch()
        await self.wait_until_listening()

    def launch(self) -> None:
        """Start the server without waiting for it."""
        environment = os.environ | {"SEALYARD_PASSPHRASE": self._passphrase, "SEALYARD_WORKSPACE": str(self._workspace)}
        command = [sys.executable, "-m", "sealyard.cli.main", "serve", *ALLOW_ROOT]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--listen", f"127.0.0.1:{self.port}", "--shutdown-timeout", "10s"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def wait_until_listening(self) -> None:
        async with asyncio.timeout(START_TIMEOUT):
            while not self._is_listening():
                assert self._process is not None
                assert self._process.poll() is None, self._log.read_text()[-3000:]
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def stop(self) -> int:
        """Stop the server with SIGTERM; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, 60)

    def close(self) -> None:
        """Kill the server and its workers, if they still run, and release the port."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        kill_all(find_by_environment(f"SEALYARD_WORKSPACE={self._workspace}\0"))
        self._port.close()

    def _is_listening(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True
