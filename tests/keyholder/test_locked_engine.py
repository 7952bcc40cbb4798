"""Tests of an engine whose key holder has died and cannot be started again."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from sealyard.cli.exit_codes import ExitCode, exit_code_for_error
from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import KeyStoreLockedError
from sealyard.model.requests import SigningRequest
from sealyard.model.tasks import Verdict
from tests.support.limits import TIMEOUT
from tests.support.workspace_files import DEVELOPER, DEVICE, OWNER, create_workspace_with_device, open_engine


async def kill_key_holder(engine: EngineHandle) -> None:
    worker = engine.worker_pids[0]
    parent = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    async with asyncio.timeout(TIMEOUT):
        while engine.worker_pids:
            await asyncio.sleep(0.01)


def test_dead_key_holder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The readiness check names the reason, which the server returns with status 503; commands exit with code 7."""
    monkeypatch.delenv("SEALYARD_PASSPHRASE", raising=False)

    async def scenario() -> None:
        await create_workspace_with_device(tmp_path / "workspace")
        async with open_engine(tmp_path / "workspace") as engine:
            assert (await engine.run(engine.engine.health.health())).ready
            await kill_key_holder(engine)
            engine.engine.health._last_health = None
            health = await engine.run(engine.engine.health.health())
            assert not health.ready
            [failure] = health.failures
            assert failure.name == "worker"
            assert "The process that held the keys has ended" in failure.detail
            request = SigningRequest(config=DEVICE, message=b"message", file_name="message", name="message")
            task = await engine.client(DEVELOPER).create_signing(request)
            await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
            with pytest.raises(KeyStoreLockedError) as caught:
                await engine.wait_idle()
            assert exit_code_for_error(caught.value) is ExitCode.KEY_STORE_LOCKED
            assert "Restart Sealyard" in caught.value.hint

    asyncio.run(scenario())
