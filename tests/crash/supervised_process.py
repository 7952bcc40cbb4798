"""A process that is started again whenever it ends, as by systemd, so that a test can kill it at any moment."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.crash.workspace_process import START_TIMEOUT, WorkspaceProcess

RESTART_SECONDS = 0.5


class SupervisedProcess(WorkspaceProcess):
    """A server of a workspace or an agent of a crypto host, which :meth:`supervise` starts again when it ends."""

    name: str
    exit_codes: Counter[int]
    _is_stopping = False

    async def supervise(self) -> None:
        """Start the process again whenever it ends, until :meth:`stop` is called."""
        self.exit_codes = Counter()
        while not self._is_stopping:
            self.launch()
            assert self._process is not None
            self.exit_codes[await asyncio.to_thread(self._process.wait)] += 1
            if not self._is_stopping:
                await asyncio.sleep(RESTART_SECONDS)

    async def wait_until_listening(self) -> None:
        """Wait until the process is ready, also if it is started again meanwhile."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await self._is_listening():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(self._log.read_text(errors="replace")[-3000:]) from None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

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
        self._is_stopping = True
        return await super().stop()

    def close(self) -> None:
        self._is_stopping = True
        super().close()
