"""What a person waits for before the dashboard is seen: nothing of it is loaded that comes after."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

LIMIT = 60.0

UNTIL_THE_FIRST_PAINT = """
import os, sys
from pathlib import Path
from textual.drivers.linux_driver import LinuxDriver

write = LinuxDriver.write

def look(self, data):
    write(self, data)
    if "Dashboard" in data:
        Path(sys.argv[1]).write_text("\\n".join(sys.modules))
        os._exit(0)

LinuxDriver.write = look
from sealyard.cli.main import main
sys.exit(main([]))
"""

AFTER_IT = {
    # the engine, and what it stands on
    "sealyard.client.embedded",
    "sealyard.client.sharing.workspace",
    "sealyard.engine.engine",
    "sealyard.storage.documents",
    "sealyard.crypto",
    "sealyard.containers",
    "sealyard.audit",
    "sealyard.jobs",
    "cryptography",
    "tinydb",
    "keyring",
    "httpx",
    "litestar",
    "uvicorn",
    "watchfiles",
    # what goes on beside the screens
    "sealyard.client.downloads.downloader",
    "sealyard.client.watch_folder.watcher",
    # the commands
    "sealyard.cli.parser",
    # the other places, and what only a dialog needs
    "sealyard_tui.screens.upload.screen",
    "sealyard_tui.screens.approvals.screen",
    "sealyard_tui.screens.audit.screen",
    "sealyard_tui.screens.devices.screen",
    "sealyard_tui.screens.access.screen",
    "sealyard_tui.dialogs.help",
    "textual.widgets._text_area",
    "textual.widgets._markdown",
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """All that the application has loaded when it first paints its dashboard, on a terminal of its own."""
    home = tmp_path_factory.mktemp("home")
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "SEALYARD_PASSPHRASE": "correct horse battery",
    }
    init = [sys.executable, "-m", "sealyard.cli.main", "--workspace", str(home / "yard"), "init", "--key-store"]
    subprocess.run([*init, "passphrase"], env=environ, check=True, capture_output=True, timeout=LIMIT)
    ours, theirs = pty.openpty()
    found = home / "loaded"
    painting = subprocess.Popen(
        [sys.executable, "-c", UNTIL_THE_FIRST_PAINT, str(found)],
        env=environ,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        with suppress(OSError):  # the other side is closed
            while os.read(ours, 65536):
                pass
        assert painting.wait(LIMIT) == 0
    finally:
        painting.kill()
        os.close(ours)
    return set(found.read_text().splitlines())


def test_the_dashboard_is_seen_before_what_is_not_needed_for_it_is_loaded(loaded: set[str]) -> None:
    assert "sealyard_tui.screens.dashboard.screen" in loaded
    assert loaded & AFTER_IT == set()


@pytest.mark.parametrize("module", sorted(AFTER_IT))
def test_what_must_not_be_loaded_exists(module: str) -> None:
    """Else a renamed one would never be missed."""
    __import__(module)
