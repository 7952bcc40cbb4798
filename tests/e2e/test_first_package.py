"""Test the way of a new user from an empty machine to the first downloaded package, and count its key presses."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.test_story import create_file
from tests.support.tmux_terminal import SEALYARD, TmuxTerminal, environment, terminal

MAX_KEY_PRESSES = 60
"""Maximum number of key presses from the first screen to the downloaded package. Typed names and paths do not count."""

KEY_PRESSES = {
    "create a workspace": 4,
    "add two people": 5,
    "create a device configuration": 7,
    "switch to the developer": 2,
    "upload a file": 5,
    "switch to the product owner": 2,
    "approve": 3,
    "see the package downloaded": 3,
}

DEVICE = "gateway"
PASSPHRASE = "a canary among passphrases"


class CountingTerminal:
    """Sends keys to a terminal, and counts them by step."""

    def __init__(self, app: TmuxTerminal) -> None:
        self._app = app
        self._step = ""
        self.key_presses: dict[str, int] = {}

    def begin_step(self, name: str) -> None:
        self._step = name
        self.key_presses[name] = 0

    def press(self, key: str, *words: str) -> str:
        """Press a key, wait until all ``words`` (regular expressions) are on the screen, and return the screen."""
        self.key_presses[self._step] += 1
        self._app.press(key)
        return self._app.wait_for(*words)

    def type(self, text: str, *words: str) -> None:
        """Type a name, passphrase or path, which is not counted."""
        self._app.type(text)
        self._app.wait_for(*words)

    def switch_user(self, name: str, words: str) -> None:
        user_list = self.press("P", "Who are you\\?", f"│.*USER:{name}")
        number = re.search(rf"│ +(\d) .*USER:{name}\b", user_list)
        assert number is not None
        self.press(number[1], words)


def test_new_user_needs_few_key_presses(tmp_path: Path) -> None:
    firmware = create_file(tmp_path / "fw.bin", 300_000)
    downloads = tmp_path / "downloads"
    environ = environment(tmp_path / "home", USER="anna", LOGNAME="anna", SEALYARD_DOWNLOAD_DIR=str(downloads))
    with terminal([SEALYARD], environ, (80, 24)) as app:
        user = CountingTerminal(app)
        app.wait_for("Create a workspace")

        user.begin_step("create a workspace")
        user.press("n", "Master key +▏‹ encrypted file", "User name +▏anna")
        user.press("C-s", "New passphrase")
        user.type(PASSPHRASE)
        user.press("Enter", "Repeat")
        user.type(PASSPHRASE)
        user.press("Enter", "anna \\(administrator\\)", "● ready", "First steps")

        user.begin_step("add two people")
        user.press("6", "USER:anna")
        for name in ("dev", "owner"):
            user.press("n", "Add a user", "Subject")
            user.type(name, f"Subject +▏{name}")
            user.press("C-s", f"Added USER:{name}")

        user.begin_step("create a device configuration")
        user.press("5", "Press n to create one")
        user.press("n", "New device configuration", "Name")
        user.type(DEVICE, f"Name +▏{DEVICE}")
        user.press("Enter", "choose one")
        user.press("Right", "May use +▏1 USER:dev")
        user.press("Enter", "choose one")
        user.press("Right", "May approve +▏1 USER:owner")
        user.press("C-s", f"Created {DEVICE}")

        user.begin_step("switch to the developer")
        user.switch_user("dev", "USER:dev \\(developer\\).*● ready")

        user.begin_step("upload a file")
        user.press("2", "Device +▏ gateway v1", "No files yet")
        user.press("a", "\\^o Browse")
        user.type(str(firmware), "fw.bin")
        user.press("Enter", "Files: 1 firmware", "Submit.*● ready")
        user.press("C-s", "Submit\\?")
        user.press("y", "Created task")

        user.begin_step("switch to the product owner")
        user.switch_user("owner", "USER:owner \\(product owner\\).*● ready")

        user.begin_step("approve")
        user.press("3", "fw.bin", "✓ approve")
        user.press("A", f"Type {DEVICE} to confirm")
        app.settle()
        user.type(DEVICE, f"{DEVICE} +.*")
        user.press("Enter", "Approved: fw.bin")

        user.begin_step("see the package downloaded")
        user.switch_user("dev", "USER:dev \\(developer\\)")
        user.press("1", "Downloaded fw.bin", "signature and digest")

        assert len(list(downloads.rglob("*.se-1"))) == 1
        assert user.key_presses == KEY_PRESSES
        assert sum(user.key_presses.values()) <= MAX_KEY_PRESSES
