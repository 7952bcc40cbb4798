"""A process that uses the worker state and its freshness anchor, and kills itself before a chosen durable operation.

Arguments: the workspace, what to do (``sign`` or ``recover``), and the number of the operation before which it is
killed, counted from 1. Prints a line for each intent once it is acknowledged. Exits with 0 if it needs fewer of them.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sealyard.audit.reader import AuditReader
from sealyard.engine.workspace import build_key_store_location, load_metadata
from sealyard.fs import atomic
from sealyard.keyholder import file_state
from sealyard.keyholder.anchored_state import ANCHOR_INTERVAL, AnchoredWorkerState
from sealyard.keyholder.state import Intent
from sealyard.keyholder.state_access import WorkerStateAccess
from sealyard.keys.master_key import open_key_store
from sealyard.model.workspace import WorkspacePaths
from tests.support.workspace_files import PASSPHRASE

INTENTS = 3


def open_access(paths: WorkspacePaths) -> WorkerStateAccess:
    metadata = load_metadata(paths)
    key_store = open_key_store(metadata.key_store, paths.keys, metadata.id, PASSPHRASE)
    return WorkerStateAccess(build_key_store_location(paths, metadata), key_store)


def sign(access: WorkerStateAccess) -> None:
    """Record intents that are anchored at once, and one that is anchored at the end."""
    state = access.open()
    assert isinstance(state, AnchoredWorkerState)
    for number in range(INTENTS):
        if number < INTENTS - 1:
            state._saved_at -= ANCHOR_INTERVAL
        intent = Intent(task_id=f"killed-{number}", fencing_token=1, sha256="11" * 32)
        if state.record_intents([intent]) == [None]:
            os.write(1, f"{intent.task_id}\n".encode())
    state.flush()
    state.close()


def recover(access: WorkerStateAccess, paths: WorkspacePaths) -> None:
    note = AuditReader(paths.audit).last_note()
    assert note is not None
    access.recover(note, adopt=False)


def kill_before(number: int) -> None:
    """Kill this process before the ``number``-th call that writes, syncs or renames a file."""
    calls = 0

    def count(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments)

        return counted

    for module, name in ((atomic, "write_all"), (file_state, "write_all"), (atomic, "rename"), (os, "fsync")):
        setattr(module, name, count(getattr(module, name)))
    atomic._datasync = count(atomic._datasync)


if __name__ == "__main__":
    paths = WorkspacePaths(Path(sys.argv[1]))
    access = open_access(paths)
    kill_before(int(sys.argv[3]))
    if sys.argv[2] == "sign":
        sign(access)
    else:
        recover(access, paths)
