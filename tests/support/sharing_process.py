"""A process with a share of a workspace. It says on its output what happens, line by line; its end is told by EOF.

``python sharer.py FOLDER SUBJECT``; the passphrase comes by the environment. Lines: ``holds`` or ``attached``,
``took over``, ``trouble CODE``, ``event CURSOR``, ``closed``.
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

LIMIT = 60.0


class SharingProcess:
    """One that runs."""

    def __init__(self, folder: Path, subject: str, passphrase: str) -> None:
        self.lines: list[str] = []
        self._moved = threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(folder), subject],
            env=os.environ | {"SEALYARD_PASSPHRASE": passphrase},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._moved:
                self.lines.append(line.strip())
                self._moved.notify_all()

    def has_line(self, *wanted: str) -> str:
        """The first of the ``wanted`` lines that is there, in time."""
        with self._moved:
            assert self._moved.wait_for(lambda: set(wanted) & set(self.lines), LIMIT), (wanted, self.lines)
            return next(each for each in self.lines if each in wanted)

    async def wait_for_line(self, *wanted: str) -> str:
        return await asyncio.to_thread(self.has_line, *wanted)

    @property
    def cursors(self) -> list[int]:
        return [int(each.split()[1]) for each in self.lines if each.startswith("event ")]

    def quit(self) -> None:
        """In good order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(LIMIT) == 0
        self._reading.join()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def start_sharing_processes(folder: Path, *subjects: str, passphrase: str) -> Iterator[list[SharingProcess]]:
    """All that are started meanwhile end with the block."""
    started: list[SharingProcess] = []
    try:
        for each in subjects:
            started.append(SharingProcess(folder, each, passphrase))  # noqa: PERF401  # the first is ended if the next fails
        yield started
    finally:
        for sharer in started:
            sharer.kill()


async def main(folder: Path, subject: str) -> None:
    from sealyard.client.sharing.workspace import SharedWorkspace

    shared = SharedWorkspace(
        folder,
        lambda: os.environ["SEALYARD_PASSPHRASE"],
        purpose="test",
        on_take_over=lambda: say("took over"),
        on_trouble=lambda error: say(f"trouble {error.code}"),
    )
    await shared.open()
    say("attached" if shared.is_attached else "holds")
    client = shared.client(subject)
    telling = asyncio.create_task(tell(client.events(0)))
    await asyncio.to_thread(sys.stdin.read)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    await shared.close()
    say("closed")


async def tell(events) -> None:  # type: ignore[no-untyped-def]
    from sealyard.model.events import TaskProgressed

    async for event in events:
        if not isinstance(event, TaskProgressed):
            say(f"event {event.cursor}")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
