"""What the two roles of a bus database may not do, and what only the signatures prevent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.bus_database import BUS_AGENT, BUS_ENGINE, BusDatabase, create_bus_database
from tests.support.postgres import OWNER, PostgresServer

REFUSED = ("42501", "42809")
"""SQLSTATE of insufficient privileges, and of objects that a statement does not apply to."""

TABLES = tuple(
    f"bus.{name}"
    for name in ("version", "zone", "role", "engine", "host", "report", "instruction", "progress", "intent", "key_file")
) + tuple(f"public.procrastinate_{name}" for name in ("jobs", "events", "workers", "periodic_defers"))

DEFER = """
SELECT public.procrastinate_defer_jobs_v1(ARRAY[ROW('crypto.w', 'crypto', 0, NULL, NULL, '{}', NULL)]
  ::public.procrastinate_job_to_defer_v1[])"""

COMMON_ATTEMPTS = {
    **{f"truncate {table}": f"TRUNCATE {table} CASCADE" for table in TABLES},
    **{f"drop {table}": f"DROP TABLE {table} CASCADE" for table in TABLES},
    "change the zone": "UPDATE bus.zone SET name = 'x'",
    "add a zone": "INSERT INTO bus.zone (name) VALUES ('x')",
    "change the revision": "UPDATE bus.version SET revision = 9",
    "change the roles": "UPDATE bus.role SET name = 'x'",
    "change an intent": "UPDATE bus.intent SET sha256 = 'x'",
    "change an intent on conflict": """
        INSERT INTO bus.intent (workspace, task, sha256, fencing_token, host) VALUES ('w', 't', 'x', 1, 'h')
        ON CONFLICT (workspace, task) DO UPDATE SET sha256 = 'x'""",
    "delete an intent": "DELETE FROM bus.intent",
    "change an instruction": "UPDATE bus.instruction SET body = ''",
    "change a report": "UPDATE bus.report SET body = ''",
    "change a key file": "UPDATE bus.key_file SET content = ''",
    "delete a key file": "DELETE FROM bus.key_file",
    "create a table": "CREATE TABLE bus.x ()",
    "create a table in public": "CREATE TABLE public.x ()",
    "create a temporary table": "CREATE TEMP TABLE x ()",
    "create a function": "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "replace a function": """
        CREATE OR REPLACE FUNCTION public.procrastinate_register_worker_v1() RETURNS TABLE(worker_id bigint)
        LANGUAGE sql AS 'SELECT 1::bigint'""",
    "disable triggers": "ALTER TABLE public.procrastinate_jobs DISABLE TRIGGER ALL",
    "switch triggers off": "SET session_replication_role = replica",
    "become the owner": f"SET ROLE {OWNER}",
    "create a role": "CREATE ROLE x",
    "copy to a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "end sessions of others": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
}

AGENT_ATTEMPTS = {
    **COMMON_ATTEMPTS,
    "queue a job": DEFER,
    "insert a job": "INSERT INTO public.procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')",
    "delete a job": "DELETE FROM public.procrastinate_jobs",
    **{
        f"change {column} of a job": f"UPDATE public.procrastinate_jobs SET {column} = {column}"
        for column in ("args", "queue_name", "task_name", "priority", "lock", "queueing_lock", "id")
    },
    "move a job to another queue": "SELECT public.procrastinate_retry_job_v2(1, now(), 0, 'q', NULL)",
    "delete a job by its end": "SELECT public.procrastinate_finish_job_v1(1, 'succeeded', true)",
    "cancel a job": "SELECT public.procrastinate_cancel_job_v1(1, true, false)",
    "delete events": "DELETE FROM public.procrastinate_events",
    "queue a periodic job": "INSERT INTO public.procrastinate_periodic_defers (task_name) VALUES ('t')",
    "read reports": "SELECT * FROM bus.report",
    "count reports": "SELECT count(*) FROM bus.report",
    "delete reports": "DELETE FROM bus.report",
    "choose the number of a report": """
        INSERT INTO bus.report (n, workspace, host, body) OVERRIDING SYSTEM VALUE VALUES (1, 'w', 'h', '')""",
    "choose the time of a report": "INSERT INTO bus.report (workspace, host, body, at) VALUES ('w', 'h', '', now())",
    "insert an instruction": """
        INSERT INTO bus.instruction (id, workspace, host, body, signature)
        VALUES (gen_random_uuid(), 'w', 'h', '', '')""",
    "delete an instruction": "DELETE FROM bus.instruction",
    "lock an instruction": "SELECT FROM bus.instruction FOR UPDATE",
    "read the terms of engines": "SELECT * FROM bus.engine",
    "begin a term": "INSERT INTO bus.engine (workspace, term, holder) VALUES ('w', 9, 'x')",
    "change a term": "UPDATE bus.engine SET term = 9",
    "remove a host": "DELETE FROM bus.host",
    "rename a host": "UPDATE bus.host SET name = 'x'",
    "move a host to another workspace": "UPDATE bus.host SET workspace = 'x'",
    "change the slots of a host": "UPDATE bus.host SET slots = 99",
    "choose the start of a host": """
        INSERT INTO bus.host (name, workspace, hostname, version, slots, started_at)
        VALUES ('x', 'w', 'h', '0', 1, now())""",
    "delete progress": "DELETE FROM bus.progress",
    "choose the time of an intent": """
        INSERT INTO bus.intent (workspace, task, sha256, fencing_token, host, at)
        VALUES ('w', 'x', 'x', 1, 'h', now())""",
}

ENGINE_ATTEMPTS = {
    **COMMON_ATTEMPTS,
    "insert a report": "INSERT INTO bus.report (workspace, host, body) VALUES ('w', 'h', '')",
    "read instructions": "SELECT body FROM bus.instruction",
    "read signatures": "SELECT signature FROM bus.instruction",
    "insert an intent": """
        INSERT INTO bus.intent (workspace, task, sha256, fencing_token, host) VALUES ('w', 'x', 'x', 1, 'h')""",
    "read key files": "SELECT * FROM bus.key_file",
    "insert a key file": "INSERT INTO bus.key_file (workspace, path, content, host) VALUES ('w', 'p', '', 'h')",
    "insert a host": "INSERT INTO bus.host (name, workspace, hostname, version, slots) VALUES ('x', 'w', 'h', '0', 1)",
    "renew a host": "UPDATE bus.host SET seen_at = now()",
    "insert progress": "INSERT INTO bus.progress VALUES ('w', 't', 2, 1, 1)",
    "take a job": "SELECT public.procrastinate_fetch_job_v2(NULL, NULL)",
    "remove a term": "DELETE FROM bus.engine",
    "register a worker": "SELECT public.procrastinate_register_worker_v1()",
}

NOT_PREVENTED = {
    "end a job of another host": "UPDATE public.procrastinate_jobs SET status = 'succeeded'",
    "queue an ended job again": "UPDATE public.procrastinate_jobs SET status = 'todo'",
    "remove other workers of the queue": "DELETE FROM public.procrastinate_workers",
    "read instructions to other hosts": "SELECT body FROM bus.instruction",
    "send a report of another host": "INSERT INTO bus.report (workspace, host, body) VALUES ('w', 'other', '{}')",
    "keep a dead host alive": "UPDATE bus.host SET seen_at = clock_timestamp()",
    "drain another host": "UPDATE bus.host SET draining = true",
    "change the progress of another job": "UPDATE bus.progress SET done = 0",
    "block a task by an intent": """
        INSERT INTO bus.intent (workspace, task, sha256, fencing_token, host) VALUES ('w', 'new', 'x', 1, 'h')""",
    "insert a key file": "INSERT INTO bus.key_file (workspace, path, content, host) VALUES ('w', 'p', '', 'h')",
    "notify": "SELECT pg_notify('reports_w', '')",
}
"""What the role of agents can do to other hosts of its zone. It delays work, or fails it.

It signs nothing and opens no key: reports and instructions are signed, and key files are authenticated under the master
key. All hosts of the zone have that key, so that grants in the instructions to another host reveal nothing new.
"""


class AttackedDatabase:
    """A database that no attempt may change, and a session that checks this after each."""

    def __init__(self, database: BusDatabase) -> None:
        self.database = database
        self._session = psycopg.connect(database.server.connection_string(database.name, "postgres"), autocommit=True)
        self._rows = self._describe()

    def require_refused(self, connection_string: str, statement: str) -> None:
        with pytest.raises(psycopg.Error) as caught:
            execute_as(connection_string, statement)
        assert caught.value.sqlstate in REFUSED, caught.value
        assert self._describe() == self._rows

    def close(self) -> None:
        self._session.close()

    def _describe(self) -> list[Any]:
        query = " UNION ALL ".join(f"SELECT '{table}', t::text FROM {table} t" for table in TABLES)
        return self._session.execute(query.encode()).fetchall()


@pytest.fixture(scope="module")
def attacked(filled: BusDatabase) -> Iterator[AttackedDatabase]:
    attacked = AttackedDatabase(filled)
    yield attacked
    attacked.close()


@pytest.fixture(scope="module")
def filled(postgres_server: PostgresServer) -> BusDatabase:
    """A database with a row in each table."""
    database = create_bus_database(postgres_server, prefix="attacked")
    fill(database)
    return database


def fill(database: BusDatabase) -> None:
    database.execute("""
        INSERT INTO bus.engine (workspace, term, holder) VALUES ('w', 1, 'x');
        INSERT INTO bus.host (name, workspace, hostname, version, slots) VALUES ('h', 'w', 'h', '0', 2);
        INSERT INTO bus.report (workspace, host, body) VALUES ('w', 'h', '{}');
        INSERT INTO bus.instruction (id, workspace, host, task, body, signature)
          VALUES (gen_random_uuid(), 'w', 'h', 't', '{}', '');
        INSERT INTO bus.progress VALUES ('w', 't', 1, 1, 2);
        INSERT INTO bus.intent (workspace, task, sha256, fencing_token, host) VALUES ('w', 't', 'aa', 1, 'h');
        INSERT INTO bus.key_file (workspace, path, content, host) VALUES ('w', 'p', '', 'h');
        INSERT INTO public.procrastinate_workers DEFAULT VALUES;
        INSERT INTO public.procrastinate_jobs (queue_name, task_name, status) VALUES ('crypto.w', 'crypto', 'doing');
    """)


def execute_as(connection_string: str, statement: str) -> None:
    with psycopg.connect(connection_string, autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize("name", AGENT_ATTEMPTS)
def test_agent_is_refused(attacked: AttackedDatabase, name: str) -> None:
    attacked.require_refused(attacked.database.agent, AGENT_ATTEMPTS[name])


@pytest.mark.parametrize("name", ENGINE_ATTEMPTS)
def test_engine_is_refused(attacked: AttackedDatabase, name: str) -> None:
    attacked.require_refused(attacked.database.engine, ENGINE_ATTEMPTS[name])


def test_agent_can_delay_other_hosts(database: BusDatabase) -> None:
    fill(database)
    for statement in NOT_PREVENTED.values():
        execute_as(database.agent, statement)


@pytest.mark.parametrize("role", ["auditor", "engine"])
def test_other_roles_cannot_connect(filled: BusDatabase, role: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(filled.server.connection_string(filled.name, role))


@pytest.mark.parametrize("role", [BUS_ENGINE, BUS_AGENT])
def test_replication_is_refused(filled: BusDatabase, role: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="replication"):
        psycopg.connect(filled.server.connection_string(filled.name, role), replication="database")
