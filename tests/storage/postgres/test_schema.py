"""Test the schema, the privileges of the engine's role, and the checks of connection strings and settings."""

from __future__ import annotations

import stat
from pathlib import Path

import psycopg
import pytest

from sealyard.model.errors import StorageError, UsageError, WorkspaceError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.postgres.connection import Database
from sealyard.storage.postgres.schema import REVISION, format_schema, upgrade_schema
from tests.storage.postgres.conftest import OpenPgStore
from tests.support.postgres import ENGINE, OWNER, PostgresServer, TestDatabase
from tests.support.postgres_store import open_pg_store

REFUSED_STATEMENTS = (
    "UPDATE sealyard.audit_entry SET line = '{}'",
    "DELETE FROM sealyard.audit_entry",
    "TRUNCATE sealyard.audit_entry",
    "UPDATE sealyard.audit_checkpoint SET note = ''",
    "DELETE FROM sealyard.audit_checkpoint",
    "TRUNCATE sealyard.audit_checkpoint",
    "UPDATE sealyard.audit_key SET public_key = ''",
    "DELETE FROM sealyard.audit_key",
    "TRUNCATE sealyard.document",
    "UPDATE sealyard.event SET cursor = 0",
    "DELETE FROM sealyard.workspace",
    "UPDATE sealyard.workspace SET id = 'w2'",
    "UPDATE sealyard.workspace SET created_at = now()",
    "UPDATE sealyard.workspace SET format = 0",
    "UPDATE sealyard.compatibility SET oldest_revision = '0'",
    "UPDATE sealyard.alembic_version SET version_num = '0'",
    "ALTER TABLE sealyard.audit_entry DISABLE TRIGGER ALL",
    "ALTER TABLE sealyard.audit_entry OWNER TO engine",
    "DROP TABLE sealyard.audit_entry",
    "CREATE TABLE sealyard.other (id int)",
    "CREATE RULE quiet AS ON INSERT TO sealyard.audit_entry DO INSTEAD NOTHING",
    "SET ROLE owner",
    "SET session_replication_role = replica",
)


@pytest.mark.parametrize("statement", REFUSED_STATEMENTS)
def test_engine_role_is_refused(database: TestDatabase, store: TinyDocumentStore, statement: str) -> None:
    with (
        psycopg.connect(database.connection_string, autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_upgrade_can_be_repeated(database: TestDatabase) -> None:
    upgrade_schema(Database(database.server.connection_string(database.name, OWNER)))
    assert database.execute("SELECT version_num FROM sealyard.alembic_version") == [(REVISION,)]


def test_printed_schema_is_equivalent(postgres_server: PostgresServer, database: TestDatabase) -> None:
    """An administrator can execute the SQL instead of running the migrations."""
    copy = postgres_server.create_database("template0")
    copy.execute(f"SET ROLE {OWNER}; {format_schema()}")
    columns = """
        SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
        WHERE table_schema = 'sealyard' ORDER BY 1, 2"""
    privileges = """
        SELECT table_name, privilege_type FROM information_schema.role_table_grants
        WHERE table_schema = 'sealyard' AND grantee = 'sealyard_engine' ORDER BY 1, 2"""
    for query in (columns, privileges):
        assert copy.execute(query) == database.execute(query) != []
    open_pg_store(copy.connection_string).close()


def test_upgrade_needs_the_role_of_engines(postgres_server: PostgresServer) -> None:
    database = postgres_server.create_database("template0")
    postgres_server.execute("ALTER ROLE sealyard_engine RENAME TO away")
    try:
        with pytest.raises(WorkspaceError, match="no role sealyard_engine"):
            upgrade_schema(Database(postgres_server.connection_string(database.name, OWNER)))
    finally:
        postgres_server.execute("ALTER ROLE away RENAME TO sealyard_engine")


def test_engine_role_cannot_upgrade(postgres_server: PostgresServer) -> None:
    database = postgres_server.create_database("template0")
    with pytest.raises(StorageError, match="permission denied"):
        upgrade_schema(Database(database.connection_string))


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DROP TABLE sealyard.alembic_version", "no tables"),
        ("UPDATE sealyard.alembic_version SET version_num = '0000'", "older schema 0000"),
        (
            "UPDATE sealyard.alembic_version SET version_num = '9999';"
            "UPDATE sealyard.compatibility SET oldest_revision = '9998'",
            "newer schema 9999",
        ),
        (f"ALTER ROLE {ENGINE} SET synchronous_commit = off", "synchronous_commit is off"),
    ],
)
def test_unsuitable_database_is_refused(
    open_store: OpenPgStore, database: TestDatabase, statement: str, problem: str
) -> None:
    database.execute(statement)
    try:
        with pytest.raises(WorkspaceError, match=problem):
            open_store()
    finally:
        database.execute(f"ALTER ROLE {ENGINE} RESET ALL")


@pytest.mark.parametrize(
    "connection_string",
    [
        "host=localhost password=hunter2",
        "postgresql://user:hunter2@localhost/db",
        "postgresql://localhost/db?password=hunter2",
        "host=localhost sslpassword=hunter2",
        "postgresql://user:hunter2@[::1/db",
        "hunter2",
    ],
)
def test_connection_string_with_password_is_refused_without_naming_it(connection_string: str) -> None:
    with pytest.raises(UsageError) as caught:
        Database(connection_string)
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__} {caught.value.__context__}"


def test_password_is_read_from_the_password_file(
    postgres_server: PostgresServer, database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password is not in the error either."""
    hba = postgres_server.folder / "data" / "pg_hba.conf"
    rules = hba.read_text()
    postgres_server.execute("CREATE ROLE secretive LOGIN PASSWORD 'hunter2' IN ROLE sealyard_engine")
    hba.write_text(f"local all secretive scram-sha-256\n{rules}")
    postgres_server.execute("SELECT pg_reload_conf()")
    connection_string = postgres_server.connection_string(database.name, "secretive")
    passwords = tmp_path / "pgpass"
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    try:
        for password in ("hunter3", "hunter2"):
            passwords.write_text(f"*:*:*:*:{password}\n")
            passwords.chmod(stat.S_IRUSR | stat.S_IWUSR)
            if password == "hunter3":
                with pytest.raises(StorageError, match="authentication failed") as caught:
                    open_pg_store(connection_string)
                assert "hunter" not in str(caught.value)
            else:
                open_pg_store(connection_string).close()
    finally:
        hba.write_text(rules)
        postgres_server.execute("SELECT pg_reload_conf()")
        postgres_server.execute("DROP ROLE secretive")


def test_unreachable_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StorageError, match="nonexistent"):
        Database("host=/nonexistent").connect()


def test_unit_of_work_is_visible_to_reports(store: TinyDocumentStore, database: TestDatabase) -> None:
    """Operators can query the members of documents with SQL."""
    store.submit(WriteBatch(puts=(("tasks", "a", {"status": "DONE"}),))).result()
    query = "SELECT id FROM sealyard.document WHERE kind = 'tasks' AND body->>'status' = 'DONE'"
    assert database.execute(query) == [("a",)]
