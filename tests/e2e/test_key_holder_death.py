"""Test what the application displays after its key holder was killed and cannot be started again."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from tests.e2e.test_story import READY_TEXTS, approve
from tests.support.tmux_terminal import SEALYARD, environment, terminal


def test_approved_task_shows_that_the_key_store_is_locked(tmp_path: Path) -> None:
    """Only the key holder of a demo knows the passphrase."""
    with terminal([SEALYARD, "demo"], environment(tmp_path / "home")) as app:
        app.wait_for(*READY_TEXTS)
        os.kill(app.pid_of("sealyard.keyholder"), signal.SIGKILL)
        app.press("P")
        number = re.search(r"(\d) +owner", app.wait_for("Who are you", r"\d +owner"))
        assert number is not None
        app.press(number[1])
        app.wait_for(r"Olga Owner.*@ demo")
        approve(app, "demo-gateway", "gateway 1.5.0")
        app.press("1")
        app.wait_for("SCHEDULED gateway 1.5.0", "Waiting for the key store")
