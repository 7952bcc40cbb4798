"""A terminal in tmux that runs a program: send keys, and wait for the contents of the screen."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.limits import TIMEOUT
from tests.support.processes import command_line, descendants_of, kill_all, wait_for_exit
from tests.support.programs import require

POLL_INTERVAL = 0.1
STABLE_SCREENS = 4
"""Number of equal screens that count as settled. They span several frames, but less than the second after which the
displayed ages change."""
SEALYARD = str(Path(sys.executable).parent / "sealyard")
SHELL = "SHELL-IS-BACK"


class TmuxTerminal:
    """A tmux window. The command runs in a shell that prints the exit code of the command afterwards."""

    def __init__(self, tmux: str, socket: str) -> None:
        self._tmux = tmux
        self._socket = socket

    def run(self, *words: str) -> str:
        command = [self._tmux, "-L", self._socket, "-f", "/dev/null", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=TIMEOUT).stdout

    def press(self, *keys: str) -> None:
        """Send keys by their tmux names: ``Enter``, ``Escape``, ``C-p``, ``F2``, or a character."""
        self.run("send-keys", "-t", "t", *keys)

    def type(self, text: str) -> None:
        self.run("send-keys", "-t", "t", "-l", text)

    def screen(self) -> str:
        return self.run("capture-pane", "-p", "-t", "t")

    def wait_for(self, *words: str) -> str:
        """Wait until all ``words`` (regular expressions) are on the screen, and return the screen."""
        return self.wait_until(lambda text: all(re.search(each, text) for each in words), f"{words}")

    def wait_until_gone(self, *words: str) -> str:
        return self.wait_until(lambda text: not any(re.search(each, text) for each in words), f"no {words}")

    def wait_until(self, condition: Callable[[str], object], what: str) -> str:
        end = time.monotonic() + TIMEOUT
        while not condition(text := self.screen()):
            assert time.monotonic() < end, f"not on the screen within {TIMEOUT:g} s: {what}\n{text}"
            time.sleep(POLL_INTERVAL)
        return text

    def settle(self) -> str:
        """Wait until the screen no longer changes, and return it."""
        end = time.monotonic() + TIMEOUT
        screens = [self.screen()]
        while len(screens) < STABLE_SCREENS or len(set(screens[-STABLE_SCREENS:])) > 1:
            assert time.monotonic() < end, f"the screen did not settle within {TIMEOUT:g} s\n{screens[-1]}"
            time.sleep(POLL_INTERVAL)
            screens.append(self.screen())
        return screens[-1]

    def resize(self, columns: int, rows: int) -> None:
        self.run("resize-window", "-t", "t", "-x", str(columns), "-y", str(rows))

    @property
    def modes(self) -> tuple[bool, bool, bool]:
        """Whether the alternate screen is on, mouse reporting is on, and the cursor is shown."""
        flags = self.run("display", "-p", "-t", "t", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}").split()
        alternate, mouse, cursor = (each == "1" for each in flags)
        return alternate, mouse, cursor

    @property
    def title(self) -> str:
        return self.run("display", "-p", "-t", "t", "#{pane_title}").strip()

    @property
    def clipboard(self) -> str:
        """The text that the program copied by OSC 52."""
        return self.run("show-buffer")

    def shell_pid(self) -> int:
        return int(self.run("display", "-p", "-t", "t", "#{pane_pid}"))

    def pid_of(self, words: str) -> int:
        """Return the first process in the window whose command line contains ``words``."""
        pids = [pid for pid in descendants_of(self.shell_pid()) if words in command_line(pid)]
        assert pids, f"no process with {words} is running"
        return pids[0]

    def quit(self, shell: str = SHELL) -> None:
        """Quit the application, confirming the question that appears while transfers are running."""
        self.press("q")
        if "Quit?" in self.wait_for(r"Quit\?|" + shell):
            self.press("y")

    def exit_code(self) -> int:
        """Wait for the program to exit, and return its exit code."""
        text = self.wait_for(rf"{SHELL}=\d+")
        code = re.search(rf"{SHELL}=(\d+)", text)
        assert code is not None
        return int(code[1])


@contextmanager
def terminal(
    command: Sequence[str], environ: Mapping[str, str], size: tuple[int, int] = (120, 40)
) -> Iterator[TmuxTerminal]:
    """Run ``command`` in its own tmux server. Both are ended with the block."""
    tmux = require("tmux")
    tmux_terminal = TmuxTerminal(tmux, f"sealyard-{uuid.uuid4().hex[:12]}")
    columns, rows = size
    # The shell joins the two parts of the marker, so that the command line itself does not contain it.
    report = f"echo {SHELL[:5]}''{SHELL[5:]}=$?"
    line = f"{shlex.join(command)}; {report}; exec cat"
    window = shlex.join(["env", "-i", *(f"{name}={value}" for name, value in environ.items()), "sh", "-c", line])
    pids: list[int] = []
    try:
        tmux_terminal.run("new-session", "-d", "-s", "t", "-x", str(columns), "-y", str(rows), window)
        tmux_terminal.run("set-option", "-s", "set-clipboard", "on")
        yield tmux_terminal
    finally:
        with suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pids = descendants_of(tmux_terminal.shell_pid())
        subprocess.run([tmux, "-L", tmux_terminal._socket, "kill-server"], check=False, capture_output=True)
        kill_all(wait_for_exit(pids, TIMEOUT))


def environment(home: Path, **variables: str) -> dict[str, str]:
    """Return an environment like that of a user's shell, independent of the environment of the tests."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "TERM": "tmux-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "TMPDIR": str(home),
        **variables,
    }
