"""A link expires and a file goes while somebody looks, and the screen says so with what can be done."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.tmux_terminal import SEALYARD, environment, terminal

LINK_SECONDS, KEPT_SECONDS = 12, 20
"""Long enough for a busy machine to show each state before it is over."""


def test_a_link_expires_and_then_the_file_is_gone_and_the_screen_says_so(tmp_path: Path) -> None:
    """Nothing is downloaded by itself here, so that there is something to lose."""
    environ = environment(
        tmp_path / "home",
        SEALYARD_WORKSPACE=str(tmp_path / "yard"),
        SEALYARD_PASSPHRASE="for this test",
        SEALYARD_AUTO_DOWNLOAD="0",
    )

    def sealyard(*words: str) -> str:
        return subprocess.run([SEALYARD, *words], env=environ, check=True, capture_output=True, text=True).stdout

    sealyard("init", "--name", "yard", "--admin", "USER:olga", "--key-store", "passphrase")
    for name in ("dev", "owner"):
        sealyard("subject", "add", f"USER:{name}")
        sealyard("profile", "add", name, "--identity", f"USER:{name}")
    sealyard(
        "device", "create", "gateway", "--encryption", "AES128_CTR_NO_PAD", "--signing", "ED25519",
        "--use", "USER:dev", "--approve", "USER:owner",
        "--link-ttl", f"{LINK_SECONDS}s", "--retention", f"{KEPT_SECONDS}s",
    )  # fmt: skip
    firmware = tmp_path / "firmware.bin"
    firmware.write_bytes(bytes(1000))
    sealyard("--profile", "dev", "package", "--device", "gateway", "--name", "gateway 1", "--firmware", str(firmware))
    with terminal([SEALYARD, "--profile", "owner", "--start-screen", "approvals"], environ) as found:
        found.wait_for("gateway 1", "✓ approve")
        found.press("A")
        found.wait_for("Type gateway to confirm")
        found.type("gateway")
        found.press("Enter")
        found.wait_for("gateway 1.* approved .status: ")
        found.press("P")
        found.wait_for("Who are you")
        found.press("1")
        found.wait_for("USER:dev ")
        found.press("1")
        found.wait_for(r"↓ AVAILABLE \d+s")
        found.wait_for(r"! EXPIRED \d+s", "link has expired")
        found.wait_for("∅ GONE", "create a new package")
        found.quit()
        assert found.exit_code() == 0
