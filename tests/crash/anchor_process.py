"""A process that runs an operation with a freshness anchor in forks, each of which kills itself one step later.

Arguments: a folder with a workspace ``template`` and its anchors ``anchors``, and the operation (``sign`` or
``recover``). Each fork has copies of both, in the folder with the number of the step, and kills itself before the
durable operation with that number. Prints the step and the task of each acknowledged intent. Ends after the first fork
that completes the operation.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sealyard.audit.reader import AuditReader
from sealyard.engine.workspace import build_key_store_location, load_metadata
from sealyard.fs import atomic
from sealyard.keyholder import file_state
from sealyard.keyholder.anchor_stores import FOLDER_VARIABLE
from sealyard.keyholder.anchored_state import ANCHOR_INTERVAL, AnchoredWorkerState
from sealyard.keyholder.state import Intent
from sealyard.keyholder.state_access import WorkerStateAccess
from sealyard.keys import file_keyring
from sealyard.keys.file_keyring import EncryptedFileKeyring
from sealyard.keys.master_key import KEYRING_FILE, SERVICE, open_key_store
from sealyard.model.workspace import WorkspacePaths
from tests.support.key_holders import LOW_COST
from tests.support.workspace_files import PASSPHRASE

INTENTS = 3
MAX_STEPS = 60


def lower_cost(paths: WorkspacePaths) -> None:
    """Encrypt the key store at a low cost, so that it opens fast."""
    keyring = EncryptedFileKeyring(paths.keys / KEYRING_FILE, PASSPHRASE, LOW_COST)
    username = f"workspace {load_metadata(paths).id}"
    master_key = keyring.get_password(SERVICE, username)
    assert master_key is not None
    keyring.set_password(SERVICE, username, master_key)


def open_access(paths: WorkspacePaths) -> WorkerStateAccess:
    metadata = load_metadata(paths)
    key_store = open_key_store(metadata.key_store, paths.keys, metadata.id, PASSPHRASE)
    return WorkerStateAccess(build_key_store_location(paths, metadata), key_store)


def sign(access: WorkerStateAccess, step: int) -> None:
    """Record intents that are anchored at once, and one that is anchored at the end."""
    state = access.open()
    assert isinstance(state, AnchoredWorkerState)
    for number in range(INTENTS):
        if number < INTENTS - 1:
            state._saved_at -= ANCHOR_INTERVAL
        intent = Intent(task_id=f"killed-{number}", fencing_token=1, sha256="11" * 32)
        if state.record_intents([intent]) == [None]:
            os.write(1, f"{step} {intent.task_id}\n".encode())
    state.flush()
    state.close()


def recover(access: WorkerStateAccess, paths: WorkspacePaths) -> None:
    note = AuditReader(paths.audit).last_note()
    assert note is not None
    access.recover(note, None, adopt=False)


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


def run_step(root: Path, operation: str, step: int) -> bool:
    """Run the operation in a fork that is killed at the step. Returns whether it was completed."""
    folder = root / str(step)
    shutil.copytree(root / "template", folder / "workspace")
    shutil.copytree(root / "anchors", folder / "anchors")
    os.environ[FOLDER_VARIABLE] = str(folder / "anchors")
    paths = WorkspacePaths(folder / "workspace")
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1] == 0
    try:
        access = open_access(paths)
        kill_before(step)
        if operation == "sign":
            sign(access, step)
        else:
            recover(access, paths)
        os._exit(0)
    finally:
        os._exit(1)


if __name__ == "__main__":
    file_keyring.DEFAULT_COST = LOW_COST
    for step in range(1, MAX_STEPS):
        if run_step(Path(sys.argv[1]), sys.argv[2], step):
            break
