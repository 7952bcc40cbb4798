"""The agent of a crypto host in a process of its own, which a test kills, and which is started again as by systemd."""

from __future__ import annotations

import asyncio
import subprocess

from tests.crash.supervised_process import SupervisedProcess
from tests.support.zone_harness import HOST_PASSPHRASE, CryptoHost, start_agent


class CryptoHostProcess(SupervisedProcess):
    """`sealyard worker run` on one of several crypto hosts of a zone."""

    def __init__(self, host: CryptoHost) -> None:
        super().__init__(host.folder, host.log, passphrase=HOST_PASSPHRASE)
        self.name = host.folder.name
        self._host = host
        self._earlier_names: set[str] = set()

    def launch(self) -> None:
        self._earlier_names = self._host.list_names()
        super().launch()

    def _start_process(self, log_fd: int) -> subprocess.Popen[bytes]:
        return start_agent(self._host.folder, log_fd, self._environment, self._host.command_prefix)

    async def _is_listening(self) -> bool:
        # Names are unique for each start of an agent.
        return bool(await asyncio.to_thread(self._host.list_names) - self._earlier_names)
