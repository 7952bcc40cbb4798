"""PgBouncer between engines and PostgreSQL."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.limits import TIMEOUT
from tests.support.postgres import AUDITOR, ENGINE, OWNER, PostgresServer, TestDatabase
from tests.support.programs import skip_missing

_PROGRAM = Path("/usr/sbin/pgbouncer")
_PORT = 6432
_CONFIG = """
[databases]
* = host={server}
[pgbouncer]
pool_mode = {pool_mode}
unix_socket_dir = {folder}
listen_port = {port}
auth_type = trust
auth_file = {folder}/users
query_wait_timeout = 10
server_login_retry = 0.1
"""


class PgBouncer:
    """A running pooler of one server."""

    def __init__(self, server: PostgresServer, folder: Path, pool_mode: str) -> None:
        """Start it in an empty folder."""
        self.folder = folder
        self.pool_mode = pool_mode
        users = "".join(f'"{role}" ""\n' for role in (ENGINE, OWNER, AUDITOR, "postgres"))
        (folder / "users").write_text(users)
        (folder / "pgbouncer.ini").write_text(
            _CONFIG.format(server=server.folder, pool_mode=pool_mode, folder=folder, port=_PORT)
        )
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, "postgres", "postgres")
        self.start()

    def start(self) -> None:
        command = ["setpriv", "--pdeathsig", "INT", str(_PROGRAM), str(self.folder / "pgbouncer.ini")]
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            command[1:1] = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--init-groups"]
        self.process = subprocess.Popen(command, cwd=self.folder, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + TIMEOUT
        while not (self.folder / f".s.PGSQL.{_PORT}").exists():
            assert self.process.poll() is None, "the pooler did not start"
            assert time.monotonic() < deadline, "the pooler did not become ready"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the process; all its connections are lost."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(TIMEOUT)
        for path in self.folder.glob(".s.PGSQL.*"):
            path.unlink()

    def connection_string(self, database: str, role: str = ENGINE) -> str:
        return f"host={self.folder} port={_PORT} dbname={database} user={role}"


class PooledDatabase(TestDatabase):
    """A database that engines reach through a pooler."""

    __test__ = False

    def __init__(self, database: TestDatabase, pooler: PgBouncer) -> None:
        super().__init__(database.server, database.name)
        self.pooler = pooler

    @property
    def connection_string(self) -> str:
        return self.pooler.connection_string(self.name)


@contextlib.contextmanager
def running_pooler(server: PostgresServer, pool_mode: str) -> Iterator[PgBouncer]:
    """Start a pooler, and stop it at the end. Skips the test if PgBouncer is not installed."""
    if not _PROGRAM.exists():
        skip_missing("PgBouncer is not installed: apt-get install pgbouncer")
    folder = Path(tempfile.mkdtemp(prefix="sealyard-pgbouncer-"))
    try:
        pooler = PgBouncer(server, folder, pool_mode)
        try:
            yield pooler
        finally:
            if pooler.process.poll() is None:
                pooler.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
