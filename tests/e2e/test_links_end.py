"""Test that an expired link and a removed result are shown on the dashboard."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.requests import DeviceUpdate, PackageRequest
from tests.e2e.conftest import ADMINISTRATOR, DEVELOPER, PASSPHRASE
from tests.support.key_holders import unlock
from tests.support.tmux_terminal import SEALYARD, environment, terminal

LINK_SECONDS, RETENTION_SECONDS = 15, 30
"""Long enough for a busy machine to show each state before the next one."""


def test_expired_and_removed_result_are_shown(workspace_folder: Path, tmp_path: Path) -> None:
    """Automatic download is disabled, so that the result is not downloaded before it expires."""
    environ = environment(
        tmp_path / "home",
        SEALYARD_WORKSPACE=str(workspace_folder),
        SEALYARD_PASSPHRASE=PASSPHRASE,
        SEALYARD_AUTO_DOWNLOAD="0",
    )
    task_id = asyncio.run(create_package(workspace_folder, tmp_path / "firmware.bin"))
    with terminal([SEALYARD, "--profile", "dev"], environ) as app:
        app.wait_for(r"dev USER:dev \(", "WAITING +gateway 1")
        # The time of the link starts with the approval, so that the dashboard is shown before, and watched meanwhile.
        approve = [SEALYARD, "--profile", "owner", "approve", task_id]
        with subprocess.Popen(approve, env=environ, stdout=subprocess.DEVNULL) as process:
            app.wait_for(r"↓ AVAILABLE \d+s")
            app.wait_for(r"! EXPIRED · kept \d+s", "link has expired")
            app.wait_for("∅ GONE", "create a new package")
        assert process.returncode == 0
        app.quit()
        assert app.exit_code() == 0


async def create_package(folder: Path, firmware: Path) -> str:
    """Create a task whose result ends soon, and return its id."""
    firmware.write_bytes(bytes(1000))
    engine = await EngineHandle.open(folder, purpose="test", key_holder=unlock(PASSPHRASE), work=False)
    try:
        update = DeviceUpdate(config="gateway", link_ttl_seconds=LINK_SECONDS, retention_seconds=RETENTION_SECONDS)
        await engine.client(ADMINISTRATOR).update_device(update)
        developer = engine.client(DEVELOPER)
        file = await developer.upload(firmware)
        request = PackageRequest(config="gateway", firmware=(file,), name="gateway 1")
        return (await developer.create_package(request)).id
    finally:
        await engine.close()
