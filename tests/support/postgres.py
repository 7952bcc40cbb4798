"""A PostgreSQL server for tests: one for each test session, with a database for each test.

The server runs as a child of the test process, as an ordinary user, in a temporary folder. It ends with the test
process, even if that is killed. It does not sync its files, because no test cuts the power; for benchmarks, it does.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.limits import TIMEOUT
from tests.support.processes import suspend
from tests.support.programs import require_module, skip_missing

ENGINE, OWNER, AUDITOR = "engine", "owner", "auditor"
"""The role with which engines log in, the one that owns the tables, and the one that may only read them."""

TEMPLATE = "sealyard_template"
TABLES = tuple(
    f"sealyard.{name}" for name in ("workspace", "document", "event", "audit_entry", "audit_checkpoint", "audit_key")
)
_SYSTEM_USER = "postgres"
_COMMON_SETTINGS = {"listen_addresses": "", "max_connections": "60", "log_min_messages": "panic"}
TEST_SETTINGS = {
    **_COMMON_SETTINGS,
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "32MB",
}
DURABLE_SETTINGS = {**_COMMON_SETTINGS, "shared_buffers": "256MB", "max_wal_size": "4GB"}
"""The settings for benchmarks."""


def find_programs() -> Path:
    """Return the folder with PostgreSQL's server programs. Skips or fails the test if there is none."""
    path = shutil.which("postgres")
    folders = [Path(path).resolve().parent] if path else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not folders or not (folders[0] / "initdb").exists():
        skip_missing("PostgreSQL is not installed: apt-get install postgresql")
    return folders[0]


class PostgresServer:
    """A running server. Roles log in over a Unix socket, without a password unless ``pg_hba.conf`` is changed."""

    def __init__(
        self,
        programs: Path,
        folder: Path,
        settings: Mapping[str, str] = TEST_SETTINGS,
        primary: PostgresServer | None = None,
    ) -> None:
        """Create and start a server in an empty folder. It is a standby of ``primary``, if one is given."""
        self.folder = folder
        self._programs = programs
        self._settings = settings
        self._numbers = itertools.count(1)
        if os.geteuid() == 0:
            shutil.chown(folder, _SYSTEM_USER, _SYSTEM_USER)
        if primary is not None:
            source = ("-h", str(primary.folder), "-U", "postgres")
            self.run("pg_basebackup", "-D", "data", *source, "-c", "fast", "-X", "stream", "-R")
            self.start()
            return
        self.run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        self.start()

    def start(self) -> None:
        settings = [argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")]
        command = [str(self._programs / "postgres"), "-D", "data", "-k", str(self.folder), *settings]
        # The signal reaches the server when the thread that started it ends, which is the main thread of the tests.
        self.process = subprocess.Popen([*self._as_user("--pdeathsig", "INT"), *command], cwd=self.folder)
        deadline = time.monotonic() + TIMEOUT
        while not self._is_ready():
            assert self.process.poll() is None, "the server did not start"
            assert time.monotonic() < deadline, "the server did not become ready"
            time.sleep(0.05)

    def stop(self, signal_number: int = signal.SIGINT) -> None:
        """Stop the server; by default, it closes all connections first."""
        self.process.send_signal(signal_number)
        self.process.wait(TIMEOUT)

    def kill(self) -> None:
        """Kill all processes of the server, as a crash of its machine does."""
        for pid in self._list_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(TIMEOUT)

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend all processes of the server until the end of the block, as if its machine hung."""
        pids = self._list_pids()
        for pid in pids:
            suspend(pid)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def connection_string(self, database: str, role: str = ENGINE) -> str:
        port = self._settings.get("port", "5432")
        return f"host={self.folder} port={port} dbname={database} user={role}"

    def execute(
        self, statement: str, database: str = "postgres", parameters: Any = None, *, role: str = "postgres"
    ) -> list[Any]:
        """Execute a statement, by default as the administrator of the server, and return its rows."""
        import psycopg

        with psycopg.connect(self.connection_string(database, role), autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def create_template(self) -> None:
        """Create the roles, and a database with the tables of Sealyard, of which tests get copies."""
        from sealyard.storage.postgres.connection import Database
        from sealyard.storage.postgres.schema import upgrade_schema

        self.execute("CREATE ROLE sealyard_engine NOLOGIN")
        self.execute(f"CREATE ROLE {ENGINE} LOGIN IN ROLE sealyard_engine")
        self.execute("CREATE ROLE sealyard_report NOLOGIN")
        self.execute(f"CREATE ROLE {AUDITOR} LOGIN IN ROLE sealyard_report")
        self.execute(f"CREATE ROLE {OWNER} LOGIN")
        self.execute(f"CREATE DATABASE {TEMPLATE} OWNER {OWNER}")
        upgrade_schema(Database(self.connection_string(TEMPLATE, OWNER)))

    def create_database(self, template: str = TEMPLATE, *, prefix: str = "test") -> TestDatabase:
        """Create a database from a template. One with another prefix is not dropped by :meth:`drop_databases`."""
        name = f"{prefix}_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER} STRATEGY FILE_COPY")
        return TestDatabase(self, name)

    def drop_databases(self) -> None:
        """Drop all databases of tests, even if engines are still connected to them."""
        for (name,) in self.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%'"):
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _list_pids(self) -> tuple[int, ...]:
        main_pid = self.process.pid
        children = Path(f"/proc/{main_pid}/task/{main_pid}/children").read_text().split()
        return main_pid, *map(int, children)

    def _is_ready(self) -> bool:
        import psycopg

        with contextlib.suppress(psycopg.OperationalError):
            self.execute("SELECT 1")
            return True
        return False

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as the user of the server, in its folder."""
        command = [*self._as_user(), str(self._programs / program), *arguments]
        result = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        assert result.returncode == 0, result.stderr

    def wait_for_standby(self) -> None:
        """Wait until the standby has replayed all commits."""
        deadline = time.monotonic() + TIMEOUT
        query = "SELECT replay_lsn >= pg_current_wal_lsn() FROM pg_stat_replication"
        while self.execute(query) != [(True,)]:
            assert time.monotonic() < deadline, "the standby does not replicate"
            time.sleep(0.05)

    def promote(self) -> None:
        """Make a standby the primary. Returns when it accepts writes."""
        assert self.execute("SELECT pg_promote()") == [(True,)]

    def _as_user(self, *options: str) -> list[str]:
        if os.geteuid() != 0:
            return ["setpriv", *options]
        user = pwd.getpwnam(_SYSTEM_USER)
        return ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--init-groups", *options]


class TestDatabase:
    """A database with the tables of Sealyard."""

    __test__ = False

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server = server
        self.name = name

    @property
    def connection_string(self) -> str:
        """The connection string of engines."""
        return self.server.connection_string(self.name)

    def execute(self, statement: str, parameters: Any = None) -> list[Any]:
        """Execute a statement as the administrator of the server, and return its rows."""
        return self.server.execute(statement, self.name, parameters)

    def copy(self) -> TestDatabase:
        """Return a copy of the current content, also while engines are connected."""
        copy = self.server.create_database()
        copy.put_back(self)
        return copy

    def put_back(self, older: TestDatabase) -> None:
        """Replace the content by that of another database, also while engines are connected to either."""
        import psycopg

        with (
            psycopg.connect(self.server.connection_string(older.name, "postgres")) as source,
            psycopg.connect(self.server.connection_string(self.name, "postgres")) as target,
        ):
            source.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            target.execute(f"TRUNCATE {', '.join(TABLES)}")
            for table in TABLES:
                with (
                    source.cursor().copy(f"COPY {table} TO STDOUT".encode()) as rows,
                    target.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copied_rows,
                ):
                    for row in rows:
                        copied_rows.write(row)

    def disconnect_engines(self) -> int:
        """End the sessions of the engines, and return how many there were."""
        return len(
            self.server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = %s",
                parameters=(self.name, ENGINE),
            )
        )

    def expire_lease(self) -> None:
        """Let the lease of a process that was killed end now. A reserved workspace stays reserved."""
        self.execute("UPDATE sealyard.workspace SET lease_until = '-infinity' WHERE lease_until < 'infinity'")


@contextlib.contextmanager
def running_standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Start a standby, which replicates asynchronously, and stop it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sealyard-pg-"))
    try:
        server = PostgresServer(find_programs(), folder, primary=primary)
        try:
            yield server
        finally:
            if server.process.poll() is None:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running_server(settings: Mapping[str, str] = TEST_SETTINGS) -> Iterator[PostgresServer]:
    """Start a server with the template database, and stop it at the end. Skips the test if it is not installed."""
    programs = find_programs()
    require_module("psycopg", "postgres")
    require_module("alembic", "postgres")
    folder = Path(tempfile.mkdtemp(prefix="sealyard-pg-"))
    try:
        server = PostgresServer(programs, folder, settings)
        try:
            server.create_template()
            yield server
        finally:
            if server.process.poll() is None:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
