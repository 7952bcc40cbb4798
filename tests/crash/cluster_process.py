"""A server of a cluster in a process of its own, which a test kills, and which is started again as by systemd."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.crash.supervised_process import SupervisedProcess
from tests.crash.workspace_process import PASSPHRASE
from tests.support.cluster import ClusterFiles
from tests.support.ports import ReservedPort, accepts_connections
from tests.support.root import ALLOW_ROOT


class ClusterServer(SupervisedProcess):
    """`sealyard serve` as one of several servers, always at the same addresses."""

    def __init__(
        self,
        workspace: Path,
        files: ClusterFiles,
        name: str,
        services: Mapping[str, str],
        *,
        passphrase: str = PASSPHRASE,
    ) -> None:
        """``services``: the connection strings of the databases, by the names of their services."""
        super().__init__(workspace, files.folder / f"{name}.log", passphrase=passphrase)
        self.name = name
        self._ports = ReservedPort(), ReservedPort()
        self.port = self._ports[0].number
        self.url = f"http://127.0.0.1:{self.port}"
        self._settings = files.write_settings(name, self.port, self._ports[1].number)
        self._environment["PGSERVICEFILE"] = str(files.write_services(name, services))

    @property
    def takeovers(self) -> int:
        """How often the server has become active."""
        return self._log.read_bytes().count(b"this server is active")

    def close(self) -> None:
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
