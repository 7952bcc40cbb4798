"""Control an engine process from a test: send commands, receive responses and events, and kill it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sealyard.jobs.key_holder import CREDENTIALS_VARIABLE
from tests.support.processes import descendants_of, wait_for_exit

WORKSPACE_VARIABLE = "SEALYARD_WORKSPACE"  # workers inherit it
START_TIMEOUT = 60.0
RESPONSE_TIMEOUT = 60.0
EXIT_TIMEOUT = 60.0
"""Key holder and workers exit within a second after their engine was killed. A starting one loads its modules
first, which takes long on a busy machine."""

Line = dict[str, Any]


class EngineDriver:
    """Runs ``engine_process.py``. :meth:`next_line` returns its lines in order, :meth:`kill` the remaining ones.

    The process starts immediately and waits for :meth:`open`, so that the next one can start while one still runs.
    ``credentials``: folder with the passphrase of the workspace. ``command_prefix``: the start of a command that runs
    the process elsewhere, for example in a namespace.
    """

    def __init__(self, workspace: Path, credentials: Path, command_prefix: Sequence[str] = ()) -> None:
        self._workspace = workspace
        log = (workspace.parent / "engine.log").open("ab")
        self._process = subprocess.Popen(
            [*command_prefix, sys.executable, "-m", "tests.crash.engine_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | {WORKSPACE_VARIABLE: str(workspace), CREDENTIALS_VARIABLE: str(credentials)},
            cwd=Path(__file__).parents[2],
        )
        log.close()
        self._number = 0
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._pending: list[Line] = []
        self.workers: tuple[int, ...] = ()
        threading.Thread(target=self._read_lines, daemon=True).start()

    def open(self) -> None:
        """Let the engine open the workspace; :meth:`wait_until_open` waits for it."""
        self._write_line({"workspace": str(self._workspace)})

    def wait_until_open(self) -> None:
        """Wait until the engine has recovered and runs."""
        ready_line = self._next_queued(START_TIMEOUT)
        assert ready_line is not None, f"the engine did not start: {self._workspace.parent / 'engine.log'}"

    def wait_for_exit(self) -> int:
        """Wait until the process exits, and return its exit code."""
        return self._process.wait(START_TIMEOUT)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, command: str, **arguments: Any) -> int:
        self._number += 1
        self._write_line({"command": command, "number": self._number} | arguments)
        return self._number

    def request(self, command: str, **arguments: Any) -> Line:
        """Send a command and wait for its response; other lines are kept for :meth:`next_line`."""
        number = self.send(command, **arguments)
        unrelated: list[Line] = []
        deadline = time.monotonic() + RESPONSE_TIMEOUT
        while (line := self.next_line(deadline - time.monotonic())) is not None:
            if line.get("number") == number:
                self._pending = unrelated
                return line
            unrelated.append(line)
        raise AssertionError(f"no response to {command!r}")

    def next_line(self, timeout: float) -> Line | None:
        """Return the next line; None after a timeout, or when the process has exited."""
        return self._pending.pop(0) if self._pending else self._next_queued(timeout)

    def kill(self) -> list[Line]:
        """Kill the engine process only; return its remaining lines. Its key holder and workers must exit."""
        descendants = descendants_of(self.pid)
        self._process.send_signal(signal.SIGKILL)
        survivors = wait_for_exit(descendants, EXIT_TIMEOUT)
        assert not survivors, f"processes {survivors} still run after their engine was killed"
        return self._read_remaining()

    def close(self) -> list[Line]:
        self.send("close")
        remaining = self._read_remaining()
        assert self._process.returncode == 0
        return remaining

    def kill_if_running(self) -> None:
        """Kill the process, if it still runs, and wait for it."""
        self._process.kill()
        self._process.wait()

    def _read_remaining(self) -> list[Line]:
        self._process.wait()
        remaining = self._pending
        while (line := self._next_queued(RESPONSE_TIMEOUT)) is not None:
            remaining.append(line)
        return remaining

    def _next_queued(self, timeout: float) -> Line | None:
        try:
            line = self._lines.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if line is not None:
            self.workers = tuple(line["workers"])
        return line

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for text in lines:
                # The last line may be cut short by the kill.
                if text.endswith(b"\n"):
                    self._lines.put(json.loads(text))
        self._lines.put(None)

    def _write_line(self, value: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value).encode() + b"\n")
        self._process.stdin.flush()
