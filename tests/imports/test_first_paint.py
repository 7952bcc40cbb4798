"""Test that the application loads only what the dashboard needs before its first paint."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.support.limits import TIMEOUT

FIRST_PAINT_SCRIPT = """
import os, sys
from pathlib import Path
from textual.drivers.linux_driver import LinuxDriver

write = LinuxDriver.write

def write_modules(self, data):
    write(self, data)
    if "Dashboard" in data:
        Path(sys.argv[1]).write_text("\\n".join(sys.modules))
        os._exit(0)

LinuxDriver.write = write_modules
from sealyard.cli.main import main
sys.exit(main([]))
"""

DEFERRED_MODULES = {
    # the engine and the packages it uses
    "sealyard.client.embedded",
    "sealyard.client.sharing.workspace",
    "sealyard.engine.engine",
    "sealyard.storage.documents",
    "sealyard.crypto",
    "sealyard.containers",
    "sealyard.audit",
    "sealyard.jobs.pipe_bus",
    "sealyard.jobs.worker_process",
    "cryptography",
    "tinydb",
    "keyring",
    "httpx",
    "litestar",
    "uvicorn",
    "watchfiles",
    # background services
    "sealyard.client.downloads.downloader",
    "sealyard.client.watch_folder.watcher",
    # commands
    "sealyard.cli.parser",
    # other screens, and modules used by dialogs only
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
def loaded_modules(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules that the application has loaded when it first paints the dashboard, in a terminal."""
    home = tmp_path_factory.mktemp("home")
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "SEALYARD_PASSPHRASE": "a canary among passphrases",
    }
    init = [sys.executable, "-m", "sealyard.cli.main", "--workspace", str(home / "workspace"), "init", "--key-store"]
    subprocess.run([*init, "passphrase"], env=environ, check=True, capture_output=True, timeout=TIMEOUT)
    parent_fd, child_fd = pty.openpty()
    module_list = home / "loaded"
    application = subprocess.Popen(
        [sys.executable, "-c", FIRST_PAINT_SCRIPT, str(module_list)],
        env=environ,
        stdin=child_fd,
        stdout=child_fd,
        stderr=child_fd,
        start_new_session=True,
    )
    os.close(child_fd)
    try:
        with suppress(OSError):  # the application closed the terminal
            while os.read(parent_fd, 65536):
                pass
        assert application.wait(TIMEOUT) == 0
    finally:
        application.kill()
        os.close(parent_fd)
    return set(module_list.read_text().splitlines())


def test_first_paint_loads_no_deferred_modules(loaded_modules: set[str]) -> None:
    assert "sealyard_tui.screens.dashboard.screen" in loaded_modules
    assert loaded_modules & DEFERRED_MODULES == set()


@pytest.mark.parametrize("module", sorted(DEFERRED_MODULES))
def test_deferred_module_exists(module: str) -> None:
    """Detect renamed modules, which the test above would otherwise miss."""
    __import__(module)
