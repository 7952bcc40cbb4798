"""Test that an expired link and a removed result are shown on the dashboard."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.tmux_terminal import SEALYARD, environment, terminal

LINK_SECONDS, RETENTION_SECONDS = 12, 20
"""Long enough for a busy machine to show each state before the next one."""


def test_expired_and_removed_result_are_shown(tmp_path: Path) -> None:
    """Automatic download is disabled, so that the result is not downloaded before it expires."""
    environ = environment(
        tmp_path / "home",
        SEALYARD_WORKSPACE=str(tmp_path / "workspace"),
        SEALYARD_PASSPHRASE="for this test",
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
    sealyard("--profile", "dev", "package", "--device", "gateway", "--name", "gateway 1", "--firmware", str(firmware))
    with terminal([SEALYARD, "--profile", "owner", "--start-screen", "approvals"], environ) as app:
        app.wait_for("gateway 1", "✓ approve", "● ready")
        app.press("A")
        app.wait_for("Type gateway to confirm")
        app.type("gateway")
        app.press("Enter")
        app.wait_for("Approved: gateway 1.* .status: ")
        app.press("P")
        app.wait_for("Who are you", r"2 +dev +USER:dev")
        app.press("2")
        app.wait_for(r"dev USER:dev \(")
        app.press("1")
        app.wait_for(r"↓ AVAILABLE \d+s")
        app.wait_for(r"! EXPIRED · kept \d+s", "link has expired")
        app.wait_for("∅ GONE", "create a new package")
        app.quit()
        assert app.exit_code() == 0
