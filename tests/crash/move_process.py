"""A process that moves workspaces in forks, each of which kills itself before one of its durable operations.

Each line of standard input is a :class:`MoveOrder`; each line of standard output is the number of operations of a move
that was completed, or 0 if it was killed. A durable operation writes, syncs or renames a file, or sends a statement to
the database or a request to a bucket.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from sealyard.engine.move_workspace import WorkspaceMove
from sealyard.fs import atomic
from sealyard.model.key_commands import KeyCommand
from sealyard.model.key_holder_messages import StoreGeneration, WorkerStateInfo
from sealyard.model.worker_messages import KeyResponse
from sealyard.model.workspace import WorkspacePaths
from tests.support.clock import FakeClock
from tests.support.fake_bus import FakeBus
from tests.support.in_memory_keys import InMemoryKeys


class KeyState(msgspec.Struct):
    """What the worker state has recorded."""

    generation: StoreGeneration | None
    signed: WorkerStateInfo


class MoveOrder(msgspec.Struct):
    """``step``: the number of the durable operation before which the process is killed; 0 for none.

    ``keys``: the file with the :class:`KeyState`, which the move updates. ``artifacts``: the target of inputs and
    results; by default, they stay where they are.
    """

    folder: str
    target: str | None
    step: int
    keys: str
    artifacts: str | None = None


class DurableKeys(InMemoryKeys):
    """Keys whose state is in a file, so that it outlives a killed process."""

    def __init__(self, path: Path) -> None:
        super().__init__("sealyard/w1", FakeClock())
        self._path = path
        state = msgspec.json.decode(path.read_bytes(), type=KeyState)
        self.restore_state(state.generation, state.signed)

    def update_store_generation(self, generation: StoreGeneration | None) -> StoreGeneration | None:
        recorded = super().update_store_generation(generation)
        self._save()
        return recorded

    def respond(self, question: KeyCommand) -> KeyResponse:
        response = super().respond(question)
        self._save()
        return response

    def _save(self) -> None:
        state = KeyState(generation=self.store_generation, signed=self.signed_checkpoint)
        path = self._path.with_suffix(".new")
        path.write_bytes(msgspec.json.encode(state))
        path.replace(self._path)


class OperationCounter:
    """Counts durable operations, and kills this process before one of them."""

    def __init__(self, step: int) -> None:
        self.count = 0
        self._step = step
        self._lock = threading.Lock()
        for module, name in ((atomic, "write_all"), (atomic, "rename"), (os, "fsync"), (psycopg.Connection, "wait")):
            setattr(module, name, self._counting(getattr(module, name)))
        atomic._datasync = self._counting(atomic._datasync)

    def count_requests(self) -> None:
        """Also count requests to buckets. It needs the AWS SDK, an optional dependency."""
        from sealyard.storage.s3.bucket import Bucket

        Bucket._call = self._counting(Bucket._call)  # type: ignore[method-assign]

    def _counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            with self._lock:
                self.count += 1
                if self.count == self._step:
                    os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return counted


def run(order: MoveOrder) -> int:
    """Move the workspace, and return the number of operations."""
    keys = DurableKeys(Path(order.keys))
    clock = FakeClock()
    paths = WorkspacePaths(Path(order.folder))
    move = WorkspaceMove(paths, FakeBus(keys, clock), clock, order.target, artifacts=order.artifacts)
    counter = OperationCounter(order.step)
    if order.artifacts is not None:
        counter.count_requests()
    asyncio.run(move.run())
    return counter.count


def fork(order: MoveOrder) -> int:
    """Return the number of operations of a completed move; 0 if it was killed."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(write_end, str(run(order)).encode())
            os._exit(0)
        finally:
            os._exit(1)
    os.close(write_end)
    with os.fdopen(read_end) as count:
        text = count.read()
    status = os.waitpid(pid, 0)[1]
    assert text or os.WIFSIGNALED(status), "the move failed"
    return int(text or "0")


if __name__ == "__main__":
    for line in sys.stdin:
        os.write(1, f"{fork(msgspec.json.decode(line, type=MoveOrder))}\n".encode())
