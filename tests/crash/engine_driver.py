"""The test's end of an engine process: commands go in, answers and events come out, and it can be killed."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.support.processes import children_of, still_there

MARK = "SEALYARD_CRASH_WORKSPACE"
START_SECONDS = 60.0
ANSWER_SECONDS = 60.0
LEAVE_SECONDS = 5.0
"""A worker is promised to leave within one second of its engine's death; on a busy machine it may take longer."""

Line = dict[str, Any]


class EngineDriver:
    """Runs ``engine_process.py``. Lines are taken in order with :meth:`next_line`; none is lost by a kill.

    The process is started at once and waits for :meth:`begin`: the next one can warm up while one still runs.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        log = (workspace.parent / "engine.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("engine_process.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | {MARK: str(workspace)},
        )
        log.close()
        self._number = 0
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._unread: list[Line] = []
        self.workers: tuple[int, ...] = ()
        threading.Thread(target=self._read, daemon=True).start()

    def unlock(self, passphrase: str) -> None:
        """Lets the engine open the workspace; :meth:`opened` waits for it."""
        self._write({"workspace": str(self._workspace), "passphrase": passphrase})

    def wait_until_open(self) -> None:
        """Returns when the engine has recovered and runs."""
        first = self._take(START_SECONDS)
        assert first is not None, f"the engine did not start again: {self._workspace.parent / 'engine.log'}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, do: str, **more: Any) -> int:
        self._number += 1
        self._write({"do": do, "number": self._number} | more)
        return self._number

    def request(self, do: str, **more: Any) -> Line:
        """Sends and waits for the answer; other lines are kept for :meth:`next_line`."""
        number = self.send(do, **more)
        others: list[Line] = []
        deadline = time.monotonic() + ANSWER_SECONDS
        while (line := self.next_line(deadline - time.monotonic())) is not None:
            if line.get("number") == number:
                self._unread = others
                return line
            others.append(line)
        raise AssertionError(f"no answer to {do!r}")

    def next_line(self, within: float) -> Line | None:
        """None when nothing came in time, or the process has ended."""
        return self._unread.pop(0) if self._unread else self._take(within)

    def kill(self) -> list[Line]:
        """Kills the engine, and only it: its workers must leave by themselves. What it had still said."""
        workers = children_of(self.pid)
        self._process.send_signal(signal.SIGKILL)
        left = still_there(workers, LEAVE_SECONDS)
        assert not left, f"workers {left} outlived their engine"
        return self._rest()

    def close(self) -> list[Line]:
        self.send("close")
        rest = self._rest()
        assert self._process.returncode == 0
        return rest

    def kill_if_running(self) -> None:
        """Whatever happened, nothing stays behind."""
        self._process.kill()
        self._process.wait()

    def _rest(self) -> list[Line]:
        self._process.wait()
        rest = self._unread
        while (line := self._take(ANSWER_SECONDS)) is not None:
            rest.append(line)
        return rest

    def _take(self, within: float) -> Line | None:
        try:
            line = self._lines.get(timeout=max(0.0, within))
        except queue.Empty:
            return None
        if line is not None:
            self.workers = tuple(line["workers"])
        return line

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for text in lines:
                # The last line may be cut short by the kill.
                if text.endswith(b"\n"):
                    self._lines.put(json.loads(text))
        self._lines.put(None)

    def _write(self, value: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value).encode() + b"\n")
        self._process.stdin.flush()
