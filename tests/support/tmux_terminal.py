"""A terminal in tmux to play a program in: keys go in by name, and what is seen is waited for, never slept for."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.processes import command_line, kill_all, still_there
from tests.support.programs import require

LIMIT = 40.0
LOOK_SECONDS = 0.05
SAME_LOOKS = 6
"""Fewer would be between two frames; more would meet the ages that are counted each second."""
SEALYARD = str(Path(sys.executable).parent / "sealyard")
SHELL = "SHELL-IS-BACK"


class TmuxTerminal:
    """One window. The command runs in a shell that goes on when it has ended, and then says how it ended."""

    def __init__(self, tmux: str, socket: str) -> None:
        self._tmux = tmux
        self._socket = socket

    def run(self, *words: str) -> str:
        command = [self._tmux, "-L", self._socket, "-f", "/dev/null", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout

    def press(self, *keys: str) -> None:
        """By tmux's names: ``Enter``, ``Escape``, ``C-p``, ``F2``, or one character."""
        self.run("send-keys", "-t", "t", *keys)

    def type(self, text: str) -> None:
        self.run("send-keys", "-t", "t", "-l", text)

    def screen(self) -> str:
        return self.run("capture-pane", "-p", "-t", "t")

    def wait_for(self, *words: str, limit: float = LIMIT) -> str:
        """Waits until all ``words`` are seen (each a regular expression), and answers what was seen."""
        return self.wait_until(lambda text: all(re.search(each, text) for each in words), f"{words}", limit)

    def wait_until_gone(self, *words: str, limit: float = LIMIT) -> str:
        return self.wait_until(lambda text: not any(re.search(each, text) for each in words), f"no {words}", limit)

    def wait_until(self, holds, what: str, limit: float = LIMIT) -> str:  # type: ignore[no-untyped-def]
        end = time.monotonic() + limit
        while not holds(text := self.screen()):
            assert time.monotonic() < end, f"not seen within {limit:g} s: {what}\n{text}"
            time.sleep(LOOK_SECONDS)
        return text

    def settle(self, limit: float = LIMIT) -> str:
        """Waits until what is seen stays the same for some looks, and answers it."""
        end = time.monotonic() + limit
        looks = [self.screen()]
        while len(looks) < SAME_LOOKS or len(set(looks[-SAME_LOOKS:])) > 1:
            assert time.monotonic() < end, f"it did not come to rest within {limit:g} s\n{looks[-1]}"
            time.sleep(LOOK_SECONDS)
            looks.append(self.screen())
        return looks[-1]

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
        """What the program put there by OSC 52."""
        return self.run("show-buffer")

    def shell_pid(self) -> int:
        return int(self.run("display", "-p", "-t", "t", "#{pane_pid}"))

    def pid_of(self, words: str) -> int:
        """The process below the window whose command line holds ``words``; the eldest of them."""
        found = [pid for pid in descendants(self.shell_pid()) if words in command_line(pid)]
        assert found, f"no process with {words} runs"
        return found[0]

    def quit(self, shell: str = SHELL) -> None:
        """Quits, and says yes where one is asked because something is still being made or fetched."""
        self.press("q")
        if "Quit?" in self.wait_for(r"Quit\?|" + shell):
            self.press("y")

    def exit_code(self, limit: float = LIMIT) -> int:
        """Waits for the program's end; its exit code."""
        text = self.wait_for(rf"{SHELL}=\d+", limit=limit)
        code = re.search(rf"{SHELL}=(\d+)", text)
        assert code is not None
        return int(code[1])


@contextmanager
def terminal(
    command: Sequence[str], environ: Mapping[str, str], size: tuple[int, int] = (120, 40)
) -> Iterator[TmuxTerminal]:
    """``command`` in a window of its own; both are ended at the end."""
    tmux = require("tmux")
    made = TmuxTerminal(tmux, f"sealyard-{uuid.uuid4().hex[:12]}")
    columns, rows = size
    # The marker is put together by the shell, so that the typed command line does not look like it.
    back = f"echo {SHELL[:5]}''{SHELL[5:]}=$?"
    line = f"{shlex.join(command)}; {back}; exec cat"
    window = shlex.join(["env", "-i", *(f"{name}={value}" for name, value in environ.items()), "sh", "-c", line])
    pids: list[int] = []
    try:
        made.run("new-session", "-d", "-s", "t", "-x", str(columns), "-y", str(rows), window)
        made.run("set-option", "-s", "set-clipboard", "on")
        yield made
    finally:
        with suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            pids = descendants(made.shell_pid())
        subprocess.run([tmux, "-L", made._socket, "kill-server"], check=False, capture_output=True)
        kill_all(still_there(pids, LIMIT))


def environment(home: Path, **more: str) -> dict[str, str]:
    """As a person's shell would have it, with nothing of the one who runs the tests."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "TERM": "tmux-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "TMPDIR": str(home),
        **more,
    }


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``, parents before their children."""
    parents: dict[int, list[int]] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            try:
                parent = int((each / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            parents.setdefault(parent, []).append(int(each.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = parents.get(waiting.pop(0), [])
        found += children
        waiting += children
    return found
