"""The roles of the engine and of auditors try everything that they should not be able to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from sealyard.model.errors import WorkspaceError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.postgres.journal import PgJournal
from tests.storage.postgres.conftest import OpenPgStore
from tests.support.postgres import AUDITOR, ENGINE, OWNER, TABLES, PostgresServer, TestDatabase
from tests.support.postgres_store import open_pg_store
from tests.support.store_helpers import read_documents

REFUSED = ("42501", "42809")
"""SQLSTATE of insufficient privileges, and of objects that a statement does not apply to, such as system tables."""

AUDIT_TABLES = ("sealyard.audit_entry", "sealyard.audit_checkpoint", "sealyard.audit_key")

SCHEMA_ATTEMPTS = {
    "drop a table": "DROP TABLE sealyard.audit_entry",
    "drop the schema": "DROP SCHEMA sealyard CASCADE",
    "drop everything that the owner has": f"DROP OWNED BY {OWNER} CASCADE",
    "take everything that the owner has": f"REASSIGN OWNED BY {OWNER} TO CURRENT_USER",
    "rename a table": "ALTER TABLE sealyard.audit_entry RENAME TO entry",
    "rename the schema": "ALTER SCHEMA sealyard RENAME TO yard",
    "move a table": "ALTER TABLE sealyard.audit_entry SET SCHEMA public",
    "add a column": "ALTER TABLE sealyard.document ADD COLUMN x int",
    "drop a constraint": "ALTER TABLE sealyard.audit_entry DROP CONSTRAINT audit_entry_pkey",
    "change the owner": "ALTER TABLE sealyard.document OWNER TO CURRENT_USER",
    "disable triggers": "ALTER TABLE sealyard.audit_entry DISABLE TRIGGER ALL",
    "enable row security": "ALTER TABLE sealyard.audit_entry ENABLE ROW LEVEL SECURITY",
    "make a table unlogged": "ALTER TABLE sealyard.audit_entry SET UNLOGGED",
    "add a trigger": """
        CREATE TRIGGER t BEFORE INSERT ON sealyard.audit_entry FOR EACH ROW
        EXECUTE FUNCTION suppress_redundant_updates_trigger()""",
    "add a rule": "CREATE RULE r AS ON INSERT TO sealyard.audit_entry DO INSTEAD NOTHING",
    "add a policy": "CREATE POLICY p ON sealyard.audit_entry USING (false)",
    "add an index": "CREATE INDEX i ON sealyard.audit_entry (position)",
    "add statistics": "CREATE STATISTICS sealyard.s ON seq, position FROM sealyard.audit_entry",
    "comment": "COMMENT ON TABLE sealyard.audit_entry IS 'x'",
    "create a table in the schema": "CREATE TABLE sealyard.x ()",
    "create a view in the schema": "CREATE VIEW sealyard.v AS SELECT 1",
    "create a function in the schema": "CREATE FUNCTION sealyard.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "create an operator in the schema": """
        CREATE OPERATOR sealyard.<< (FUNCTION = int4lt, LEFTARG = int, RIGHTARG = int)""",
    "create in public": "CREATE TABLE public.x ()",
    "create a schema": "CREATE SCHEMA x",
    "create a database": "CREATE DATABASE x",
    "create an extension": "CREATE EXTENSION dblink",
    "create a language": "CREATE LANGUAGE l HANDLER plpgsql_call_handler",
    "create a function in C": "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE c AS 'libc', 'getpid'",
    "create an event trigger": "CREATE EVENT TRIGGER t ON ddl_command_start EXECUTE FUNCTION pg_temp.f()",
    "change the revision": "UPDATE sealyard.alembic_version SET version_num = '9999'",
    "change the oldest revision": "UPDATE sealyard.compatibility SET oldest_revision = '0001'",
}

SERVER_ATTEMPTS = {
    "become the owner": f"SET ROLE {OWNER}",
    "become the administrator": "SET ROLE postgres",
    "become another user": "SET SESSION AUTHORIZATION postgres",
    "read all data": "SET ROLE pg_read_all_data",
    "write all data": "SET ROLE pg_write_all_data",
    "create a role": "CREATE ROLE x",
    "become a superuser": "ALTER ROLE CURRENT_USER SUPERUSER",
    "permit replication": "ALTER ROLE CURRENT_USER REPLICATION",
    "join a role": f"GRANT {OWNER} TO CURRENT_USER",
    "give the own role away": f"GRANT sealyard_engine TO {OWNER}",
    "change settings of another role": f"ALTER ROLE {OWNER} SET search_path = x",
    "change settings of the database": "ALTER DATABASE template1 SET search_path = x",
    "change settings of the server": "ALTER SYSTEM SET fsync = off",
    "switch triggers and foreign keys off": "SET session_replication_role = replica",
    "load a library": "LOAD 'plpgsql.so'",
    "copy to a program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "copy from a program": "COPY sealyard.event FROM PROGRAM 'true'",
    "copy to a file": "COPY (SELECT 1) TO '/tmp/x'",
    "read a file": "SELECT pg_read_file('postgresql.conf')",
    "list a folder": "SELECT pg_ls_dir('.')",
    "read the log": "SELECT pg_current_logfile()",
    "import a file as a large object": "SELECT lo_import('/etc/hostname')",
    "export a large object": "SELECT lo_export(1, '/tmp/x')",
    "read passwords": "SELECT rolpassword FROM pg_authid",
    "read samples of other tables": "SELECT * FROM pg_statistic",
    "change a system table": "UPDATE pg_class SET relname = 'x' WHERE relname = 'audit_entry'",
    "read another schema": "SELECT * FROM secret.data",
    "publish tables": "CREATE PUBLICATION p FOR TABLE sealyard.audit_entry",
    "subscribe": "CREATE SUBSCRIPTION s CONNECTION '' PUBLICATION p WITH (connect = false)",
    "create a replication slot": "SELECT pg_create_physical_replication_slot('s')",
    "read the write-ahead log": "SELECT pg_create_logical_replication_slot('s', 'test_decoding')",
    "switch the write-ahead log": "SELECT pg_switch_wal()",
    "make a restore point": "SELECT pg_create_restore_point('x')",
    "end sessions of others": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    "reload settings": "SELECT pg_reload_conf()",
    "promote": "SELECT pg_promote()",
}

AUDIT_ATTEMPTS = {
    **{f"update {table}": f"UPDATE {table} SET workspace = workspace" for table in AUDIT_TABLES},
    **{f"delete from {table}": f"DELETE FROM {table}" for table in AUDIT_TABLES},
    **{f"lock rows of {table}": f"SELECT FROM {table} FOR UPDATE" for table in AUDIT_TABLES},
    **{f"lock {table}": f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE" for table in AUDIT_TABLES},
    **{f"truncate {table}": f"TRUNCATE {table} CASCADE" for table in TABLES},
    "update on conflict": """
        INSERT INTO sealyard.audit_entry SELECT * FROM sealyard.audit_entry
        ON CONFLICT (workspace, seq) DO UPDATE SET line = '{}'""",
    "merge": """
        MERGE INTO sealyard.audit_entry a USING (SELECT 0 AS seq) b ON a.seq = b.seq
        WHEN MATCHED THEN UPDATE SET line = '{}' WHEN NOT MATCHED THEN DO NOTHING""",
    "delete by merge": """
        MERGE INTO sealyard.audit_entry a USING (SELECT 0 AS seq) b ON a.seq = b.seq WHEN MATCHED THEN DELETE""",
    "delete in a common table expression": """
        WITH gone AS (DELETE FROM sealyard.audit_checkpoint RETURNING *) SELECT * FROM gone""",
    "update through a view": """
        CREATE TEMP VIEW v AS SELECT * FROM sealyard.audit_entry; UPDATE v SET line = '{}'""",
    "update in an anonymous block": "DO $$ BEGIN UPDATE sealyard.audit_entry SET line = '{}'; END $$",
    "update as a function of the own role": """
        CREATE FUNCTION pg_temp.f() RETURNS void LANGUAGE sql SECURITY DEFINER
          AS $$ UPDATE sealyard.audit_entry SET line = '{}' $$;
        SELECT pg_temp.f()""",
}

ENGINE_ATTEMPTS = {
    "change the id of a workspace": "UPDATE sealyard.workspace SET id = 'x'",
    "change the format": "UPDATE sealyard.workspace SET format = 99",
    "change the time of creation": "UPDATE sealyard.workspace SET created_at = now()",
    "change the format on conflict": """
        INSERT INTO sealyard.workspace SELECT * FROM sealyard.workspace ON CONFLICT (id) DO UPDATE SET format = 99""",
    "remove a workspace": "DELETE FROM sealyard.workspace",
    "change an event": "UPDATE sealyard.event SET body = '{}'",
}

AUDITOR_ATTEMPTS = {
    **{f"insert into {table}": f"INSERT INTO {table} SELECT * FROM {table} LIMIT 0" for table in TABLES},
    **{f"delete from {table}": f"DELETE FROM {table}" for table in TABLES},
    **{f"lock rows of {table}": f"SELECT FROM {table} FOR KEY SHARE" for table in TABLES},
    **{f"lock {table}": f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE" for table in TABLES},
    **{
        f"update {column}": f"UPDATE sealyard.workspace SET {column} = {column}"
        for column in ("term", "holder", "lease_until", "position", "mac", "format")
    },
    "update a document": "UPDATE sealyard.document SET body = '{}'",
}

HARMLESS = {
    "listen and notify": "LISTEN x; NOTIFY x, 'y'",
    "advisory lock": "SELECT pg_advisory_lock(1)",
    "large object": "SELECT lo_from_bytea(0, 'x')",
    "temporary table": "CREATE TEMP TABLE document (id text)",
    "anonymous block": "DO $$ BEGIN PERFORM 1; END $$",
    "grant without the option to grant": f"GRANT SELECT, INSERT, UPDATE, DELETE ON sealyard.audit_entry TO {AUDITOR}",
    "revoke from others": f"REVOKE ALL ON sealyard.document FROM {OWNER}, {AUDITOR}, sealyard_report",
    "vacuum": "VACUUM sealyard.audit_entry",
    "own search path": "ALTER ROLE CURRENT_USER SET search_path = x, pg_catalog",
    "own password": "ALTER ROLE CURRENT_USER PASSWORD 'x'",
}
"""What PostgreSQL permits or skips with a warning. It has no effect on the store, and the README names it."""


class AttackedDatabase:
    """A database that no attempt may change, and a session that checks this after each."""

    def __init__(self, database: TestDatabase) -> None:
        self.database = database
        self._session = psycopg.connect(database.server.connection_string(database.name, "postgres"), autocommit=True)
        self._content = describe(self._session)

    def require_refused(self, role: str, statement: str) -> None:
        with pytest.raises(psycopg.Error) as caught:
            execute_as(role, self.database, statement)
        assert caught.value.sqlstate in REFUSED, caught.value
        assert describe(self._session) == self._content

    def close(self) -> None:
        self._session.close()


@pytest.fixture(scope="module")
def attacked(filled: TestDatabase) -> Iterator[AttackedDatabase]:
    attacked = AttackedDatabase(filled)
    yield attacked
    attacked.close()


@pytest.fixture(scope="module")
def filled(postgres_server: PostgresServer) -> TestDatabase:
    """A database with a row in each table, which no attempt may change, and a schema of another application."""
    database = postgres_server.create_database(prefix="attacked")
    store = open_pg_store(database.connection_string)
    store.submit(WriteBatch(puts=(("tasks", "a", {"n": 1}),), events=({"cursor": 1},))).result()
    store.close()
    database.execute("""
        INSERT INTO sealyard.audit_entry SELECT id, 0, '{"seq":0}', 1 FROM sealyard.workspace;
        INSERT INTO sealyard.audit_checkpoint (workspace, size, note) SELECT id, 1, '' FROM sealyard.workspace;
        INSERT INTO sealyard.audit_key SELECT id, '' FROM sealyard.workspace;
        CREATE SCHEMA secret;
        CREATE TABLE secret.data AS SELECT 1 AS n""")
    return database


def describe(session: psycopg.Connection[Any]) -> list[object]:
    """Return all rows, and the objects in the schema with their privileges."""
    queries = [f"SELECT t::text FROM {table} t" for table in TABLES]
    queries.append("""
        SELECT relname, relowner, relacl, relhastriggers, relrowsecurity, relpersistence
        FROM pg_class WHERE relnamespace = 'sealyard'::regnamespace ORDER BY oid""")
    queries.append("SELECT proname FROM pg_proc WHERE pronamespace = 'sealyard'::regnamespace")
    queries.append("SELECT rolname, rolsuper, rolreplication FROM pg_roles ORDER BY oid")
    return [session.execute(query.encode()).fetchall() for query in queries]


def execute_as(role: str, database: TestDatabase, statement: str) -> None:
    connection_string = database.server.connection_string(database.name, role)
    needs_transaction = statement.startswith("LOCK")
    with psycopg.connect(connection_string, autocommit=not needs_transaction) as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize("name", SCHEMA_ATTEMPTS | SERVER_ATTEMPTS | AUDIT_ATTEMPTS | ENGINE_ATTEMPTS)
def test_engine_is_refused(attacked: AttackedDatabase, name: str) -> None:
    attempts = SCHEMA_ATTEMPTS | SERVER_ATTEMPTS | AUDIT_ATTEMPTS | ENGINE_ATTEMPTS
    attacked.require_refused(ENGINE, attempts[name])


@pytest.mark.parametrize("name", SCHEMA_ATTEMPTS | SERVER_ATTEMPTS | AUDIT_ATTEMPTS | AUDITOR_ATTEMPTS)
def test_auditor_is_refused(attacked: AttackedDatabase, name: str) -> None:
    attempts = SCHEMA_ATTEMPTS | SERVER_ATTEMPTS | AUDIT_ATTEMPTS | AUDITOR_ATTEMPTS
    attacked.require_refused(AUDITOR, attempts[name])


@pytest.mark.parametrize("role", [ENGINE, AUDITOR])
def test_replication_is_refused(filled: TestDatabase, role: str) -> None:
    connection_string = filled.server.connection_string(filled.name, role)
    with pytest.raises(psycopg.OperationalError, match="replication"):
        psycopg.connect(connection_string, replication="database")


@pytest.fixture
def restored_roles(database: TestDatabase) -> Iterator[None]:
    """Roles belong to the server, which other tests use."""
    yield
    database.execute(f"ALTER ROLE {ENGINE} RESET ALL")
    database.execute(f"ALTER ROLE {ENGINE} PASSWORD NULL")


@pytest.mark.usefixtures("restored_roles")
@pytest.mark.parametrize("name", HARMLESS)
def test_permitted_attempt_has_no_effect(
    store: TinyDocumentStore, open_store: OpenPgStore, database: TestDatabase, name: str
) -> None:
    administrator = psycopg.connect(database.server.connection_string(database.name, "postgres"), autocommit=True)
    with administrator, psycopg.connect(database.connection_string, autocommit=True) as connection:
        before = describe(administrator)[1:]  # the lease is renewed meanwhile
        for statement in HARMLESS[name].split("; ") if "$$" not in HARMLESS[name] else [HARMLESS[name]]:
            connection.execute(statement.encode())
        assert describe(administrator)[1:] == before
        store.submit(WriteBatch(puts=(("tasks", "a", {"n": 1}),))).result()
        store.close()
        assert read_documents(open_store(recorded=store.generation)) == {"tasks": {"a": {"n": 1}}}


def test_temporary_tables_do_not_replace_those_of_the_schema(store: TinyDocumentStore, database: TestDatabase) -> None:
    """Also in the session of the engine itself, because each statement names the schema."""
    assert store._committer is not None
    journal = store._committer._journal
    assert isinstance(journal, PgJournal)
    for table in TABLES:
        name = table.removeprefix("sealyard.")
        journal._connection.execute(f"CREATE TEMP TABLE {name} (LIKE {table})".encode())
    journal._connection.execute("SET search_path = pg_temp, public")
    store.submit(WriteBatch(puts=(("tasks", "a", {"n": 1}),))).result()
    assert database.execute("SELECT id FROM sealyard.document") == [("a",)]


@pytest.mark.usefixtures("restored_roles")
def test_own_setting_that_loses_commits_is_refused_at_the_start(
    open_store: OpenPgStore, database: TestDatabase
) -> None:
    """A role can change its own settings."""
    with psycopg.connect(database.connection_string, autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER SET synchronous_commit = off")
    with pytest.raises(WorkspaceError, match="synchronous_commit"):
        open_store()


def test_engine_needs_no_more_to_create_workspaces(database: TestDatabase) -> None:
    """The row of a workspace, its documents and its audit log are inserted with the role of the engine."""
    for table in TABLES:
        rows = database.execute("SELECT has_table_privilege(%s, %s, 'INSERT')", (ENGINE, table))
        assert rows == [(True,)], table
