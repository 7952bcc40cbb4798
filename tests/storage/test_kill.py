"""Test of kill -9 during commits and compactions: no acknowledged batch is lost, and none is stored in part."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import killed_at_exit
from tests.support.store_helpers import open_test_store

WRITE = """
import sys, threading
from pathlib import Path
from sealyard.storage.documents import WriteBatch
from tests.support.store_helpers import open_test_store

folder, begin = Path(sys.argv[1]), int(sys.argv[2])
store = open_test_store(folder)

def compact():
    while True:
        store.compact(0)

threading.Thread(target=compact, daemon=True).start()
n = begin
while True:
    futures = []
    for _ in range(5):
        batch = WriteBatch(puts=(("left", str(n), {"n": n}), ("right", str(n), {"n": n})), audit=({"seq": n + 1},))
        futures.append(store.submit(batch))
        n += 1
    for future in futures:
        future.result()
    print(n, flush=True)
"""


@pytest.mark.crash
def test_killed_writer_keeps_acknowledged_batches(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    written = 0
    for acknowledgements in (1, 3, 10, 25, 60, 120):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE, str(folder), str(written)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with killed_at_exit(process):
            acknowledged = [process.stdout.readline() for _ in range(acknowledgements)][-1]
            process.send_signal(signal.SIGKILL)
            rest = process.communicate()[0].splitlines()
        # The last line may itself be cut short by the kill.
        acknowledged = [acknowledged, *rest[:-1]][-1]

        store = open_test_store(folder)
        left, right = dict(store.all("left")), dict(store.all("right"))
        seqs = [entry["seq"] for entry in store.pending_audit()]
        store.close()
        written = len(left)
        assert left == right
        assert written >= int(acknowledged)
        assert set(left) == {str(n) for n in range(written)}
        assert seqs == list(range(1, written + 1))
