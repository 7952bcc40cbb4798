"""Test that an expired link and a removed result are shown on the dashboard."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.tmux_terminal import SEALYARD, environment, terminal

LINK_SECONDS, RETENTION_SECONDS = 15, 30
"""Long enough for a busy machine to show each state before the next one."""


def test_expired_and_removed_result_are_shown(tmp_path: Path) -> None:
    """Automatic download is disabled, so that the result is not downloaded before it expires."""
    environ = environment(
        tmp_path / "home",
        SEALYARD_WORKSPACE=str(tmp_path / "workspace"),
        SEALYARD_PASSPHRASE="a canary among passphrases",
        SEALYARD_AUTO_DOWNLOAD="0",
    )

    def sealyard(*arguments: str) -> str:
        return subprocess.run([SEALYARD, *arguments], env=environ, check=True, capture_output=True, text=True).stdout

    sealyard("init", "--name", "acme", "--admin", "USER:olga", "--key-store", "passphrase")
    for name in ("dev", "owner"):
        sealyard("subject", "add", f"USER:{name}")
        sealyard("profile", "add", name, "--identity", f"USER:{name}")
    sealyard(
        "device", "create", "gateway", "--encryption", "AES128_CTR_NO_PAD", "--signing", "ED25519",
        "--use", "USER:dev", "--approve", "USER:owner",
        "--link-ttl", f"{LINK_SECONDS}s", "--retention", f"{RETENTION_SECONDS}s",
    )  # fmt: skip
    firmware = tmp_path / "firmware.bin"
    firmware.write_bytes(bytes(1000))
    package = ("package", "--device", "gateway", "--name", "gateway 1", "--firmware", str(firmware), "--json")
    task_id = json.loads(sealyard("--profile", "dev", *package))["id"]
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
