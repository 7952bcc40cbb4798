"""A server of a cluster in a process of its own, which a test kills, and which is started again as by systemd."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.crash.workspace_process import PASSPHRASE, START_TIMEOUT, WorkspaceProcess
from tests.support.cluster import ClusterFiles
from tests.support.ports import ReservedPort, accepts_connections
from tests.support.root import ALLOW_ROOT

RESTART_SECONDS = 0.5


class ClusterServer(WorkspaceProcess):
    """`sealyard serve` as one of several servers, always at the same addresses."""

    def __init__(
        self,
        workspace: Path,
        files: ClusterFiles,
        name: str,
        connection_string: str,
        *,
        passphrase: str = PASSPHRASE,
    ) -> None:
        super().__init__(workspace, files.folder / f"{name}.log", passphrase=passphrase)
        self.name = name
        self._ports = ReservedPort(), ReservedPort()
        self.port = self._ports[0].number
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = files.write_settings(name, self.port, self._ports[1].number)
        self._environment["PGSERVICEFILE"] = str(files.write_service(name, connection_string))
        self.exit_codes: Counter[int] = Counter()
        self._stopping = False

    async def supervise(self) -> None:
        """Start the server again whenever it ends, until :meth:`stop` is called."""
        while not self._stopping:
            self.launch()
            assert self._process is not None
            self.exit_codes[await asyncio.to_thread(self._process.wait)] += 1
            if not self._stopping:
                await asyncio.sleep(RESTART_SECONDS)

    async def wait_until_listening(self) -> None:
        """Wait until the server listens, also if it is started again meanwhile."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await self._is_listening():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(self._log.read_text(errors="replace")[-3000:]) from None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def takeovers(self) -> int:
        """How often the server has become active."""
        return self._log.read_bytes().count(b"this server is active")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()

    async def wait(self) -> None:
        """Wait until the process has ended."""
        assert self._process is not None
        await asyncio.to_thread(self._process.wait)

    async def stop(self) -> int:
        # A process that is still starting does not handle the signal yet.
        await self.wait_until_listening()
        self._stopping = True
        return await super().stop()

    def close(self) -> None:
        self._stopping = True
        super().close()
        for port in self._ports:
            port.close()

    def _start_process(self, log_fd: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "sealyard.cli.main", "serve", *ALLOW_ROOT, "--config", str(self._settings)],
            env=os.environ | self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=log_fd,
            start_new_session=True,
        )

    async def _is_listening(self) -> bool:
        return accepts_connections(self.port)
