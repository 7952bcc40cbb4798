"""Test engines and connections that are killed during commits: no acknowledged batch is lost, and none is doubled."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from concurrent.futures import Future

import pytest

from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from tests.storage.postgres.conftest import OpenPgStore
from tests.support.extent import choose_count
from tests.support.limits import TIMEOUT
from tests.support.postgres import TestDatabase
from tests.support.postgres_store import open_pg_store
from tests.support.processes import killed_at_exit

WRITE = """
import sys
from sealyard.storage.documents import WriteBatch
from tests.support.postgres_store import open_pg_store

store = open_pg_store(sys.argv[1])
n = int(sys.argv[2])
while True:
    futures = []
    for _ in range(5):
        batch = WriteBatch(puts=(("left", str(n), {"n": n}), ("right", str(n), {"n": n})), events=({"cursor": n + 1},))
        futures.append(store.submit(batch))
        n += 1
    for future in futures:
        future.result()
    print(n, flush=True)
"""


def submit(store: TinyDocumentStore, number: int) -> Future[None]:
    return store.submit(
        WriteBatch(
            puts=(("left", str(number), {"n": number}), ("right", str(number), {"n": number})),
            deletes=(("left", str(number - 10)),) if number >= 10 else (),
            events=({"cursor": number + 1},),
        )
    )


@pytest.mark.crash
def test_killed_connections_lose_and_double_nothing(
    store: TinyDocumentStore, open_store: OpenPgStore, database: TestDatabase
) -> None:
    rounds, number = choose_count(share=8, full=200), 0
    for _ in range(rounds):
        futures = []
        for _ in range(random.randrange(1, 60)):
            futures.append(submit(store, number))
            number += 1
        database.disconnect_engines()
        for future in futures:
            future.result(TIMEOUT)
    store.close()
    reopened = open_store()
    assert set(reopened.ids("right", "")) == {str(each) for each in range(number)}
    assert set(reopened.ids("left", "")) == {str(each) for each in range(max(0, number - 10), number)}
    assert [event["cursor"] for event in reopened.recent_events()] == list(range(1, number + 1))


@pytest.mark.crash
def test_killed_writer_keeps_acknowledged_batches(database: TestDatabase) -> None:
    written = 0
    for acknowledgements in (1, 3, 10, 40):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE, database.connection_string, str(written)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with killed_at_exit(process):
            acknowledged = [process.stdout.readline() for _ in range(acknowledgements)][-1]
            process.send_signal(signal.SIGKILL)
            rest = process.communicate()[0].splitlines()
        # The last line may itself be cut short by the kill.
        acknowledged = [acknowledged, *rest[:-1]][-1]
        database.expire_lease()
        store = open_pg_store(database.connection_string)
        left, right = dict(store.all("left")), dict(store.all("right"))
        cursors = [event["cursor"] for event in store.recent_events()]
        store.close()
        written = len(left)
        assert left == right
        assert written >= int(acknowledged)
        assert set(left) == {str(n) for n in range(written)}
        assert cursors == list(range(1, written + 1))
