"""Back up a PostgreSQL server with its write-ahead log, and restore it to a moment, with PostgreSQL's own programs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.limits import TIMEOUT
from tests.support.postgres import TEST_SETTINGS, PostgresServer, running_server

_ARCHIVE_SETTINGS = {
    **TEST_SETTINGS,
    "archive_mode": "on",
    "archive_command": "mkdir -p ../archive && test ! -f ../archive/%f && cp %p ../archive/%f",
}

_RECOVERY_SETTINGS = """
restore_command = 'cp ../archive/%f %p'
recovery_target_name = '{target}'
recovery_target_action = 'promote'
"""


@contextmanager
def running_archiving_server() -> Iterator[PostgresServer]:
    """Start a server that archives its write-ahead log."""
    with running_server(_ARCHIVE_SETTINGS) as server:
        yield server


def back_up_server(server: PostgresServer, name: str) -> None:
    """Make a base backup into a folder beside the data."""
    server.run("pg_basebackup", "-D", name, "-h", str(server.folder), "-U", "postgres", "-c", "fast", "-X", "none")


def restore_server(server: PostgresServer, name: str, target: str) -> None:
    """Stop the server, and start it from a base backup in the state of the restore point ``target``."""
    server.stop()
    data = server.folder / "data"
    data.rename(server.folder / f"data-before-{name}")
    (server.folder / name).rename(data)
    with (data / "postgresql.auto.conf").open("a") as file:
        file.write(_RECOVERY_SETTINGS.format(target=target))
    (data / "recovery.signal").touch()
    server.start()
    deadline = time.monotonic() + TIMEOUT
    while server.execute("SELECT pg_is_in_recovery()") == [(True,)]:
        assert time.monotonic() < deadline, "the server was not promoted"
        time.sleep(0.05)
