"""A process that shares a workspace and prints what happens, one line per event. It ends at EOF on its input.

``python -m tests.support.sharing_process FOLDER SUBJECT``, with the passphrase in the environment.
Lines: ``holds`` or ``attached``, ``took over``, ``trouble CODE``, ``event CURSOR``, ``closed``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.support.limits import TIMEOUT


class SharingProcess:
    """Handle on a running process."""

    def __init__(self, folder: Path, subject: str, passphrase: str) -> None:
        self.lines: list[str] = []
        self._lines_changed = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.sharing_process", str(folder), subject],
            cwd=Path(__file__).parents[2],
            env=os.environ | {"SEALYARD_PASSPHRASE": passphrase},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._lines_changed:
                self.lines.append(line.strip())
                self._lines_changed.notify_all()

    def has_line(self, *expected: str) -> str:
        """Wait until one of the ``expected`` lines was printed, and return it."""
        with self._lines_changed:
            is_printed = self._lines_changed.wait_for(lambda: set(expected) & set(self.lines), TIMEOUT)
            assert is_printed, (expected, self.lines)
            return next(each for each in self.lines if each in expected)

    async def wait_for_line(self, *expected: str) -> str:
        return await asyncio.to_thread(self.has_line, *expected)

    @property
    def cursors(self) -> list[int]:
        return [int(each.split()[1]) for each in self.lines if each.startswith("event ")]

    def quit(self) -> None:
        """Close its input and wait for a clean exit."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(TIMEOUT) == 0
        self._reader.join()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def start_sharing_processes(folder: Path, *subjects: str, passphrase: str) -> Iterator[list[SharingProcess]]:
    """Start a process per subject. All processes in the list are killed at the end of the block."""
    started: list[SharingProcess] = []
    try:
        for each in subjects:
            started.append(SharingProcess(folder, each, passphrase))  # noqa: PERF401  # killed if a later start fails
        yield started
    finally:
        for sharer in started:
            sharer.kill()


async def main(folder: Path, subject: str) -> None:
    from sealyard.client.config.key_holder import start_key_holder
    from sealyard.client.sharing.workspace import SharedWorkspace

    key_holder = start_key_holder(folder, may_prompt=False)
    shared = SharedWorkspace(
        folder,
        lambda: key_holder,
        purpose="test",
        on_take_over=lambda: print_line("took over"),
        on_trouble=lambda error: print_line(f"trouble {error.code}"),
    )
    await shared.open()
    print_line("attached" if shared.is_attached else "holds")
    client = shared.client(subject)
    event_task = asyncio.create_task(print_events(client.events(0)))
    await asyncio.to_thread(sys.stdin.read)
    event_task.cancel()
    await asyncio.gather(event_task, return_exceptions=True)
    await shared.close()
    key_holder.close()
    print_line("closed")


async def print_events(events) -> None:  # type: ignore[no-untyped-def]
    from sealyard.model.events import TaskProgressed

    async for event in events:
        if not isinstance(event, TaskProgressed):
            print_line(f"event {event.cursor}")


def print_line(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
