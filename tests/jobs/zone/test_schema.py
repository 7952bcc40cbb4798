"""Creating, migrating and checking a bus database."""

from __future__ import annotations

import subprocess

import msgspec
import pytest

from sealyard.jobs.zone import migrations, schema
from sealyard.jobs.zone.migrations import REVISION
from sealyard.jobs.zone.privileges import BusRole
from sealyard.jobs.zone.schema import (
    check_bus,
    format_bus_schema,
    list_queue_scripts,
    newest_queue_migration,
    upgrade_bus,
)
from sealyard.model.errors import StorageError, UsageError, WorkspaceError
from sealyard.model.hints import HintCode
from sealyard.storage.postgres.connection import Database
from tests.support.bus_database import BUS_AGENT, BUS_ENGINE, BUS_SETTINGS, ZONE, BusDatabase
from tests.support.postgres import AUDITOR, OWNER, PostgresServer


def test_check_accepts_a_new_database(database: BusDatabase) -> None:
    report = check_bus(Database(database.engine))
    assert (report.zone, report.revision, report.connected_as) == (ZONE, REVISION, BusRole.ENGINE)
    assert report.is_suitable
    assert check_bus(Database(database.agent)).connected_as == BusRole.AGENT
    assert check_bus(Database(database.owner)).connected_as == ""


def test_upgrade_can_be_repeated(database: BusDatabase) -> None:
    upgrade_bus(Database(database.owner), BUS_SETTINGS)
    assert check_bus(Database(database.engine)).is_suitable


def test_upgrade_moves_privileges_to_another_role(database: BusDatabase) -> None:
    upgrade_bus(Database(database.owner), msgspec.structs.replace(BUS_SETTINGS, agent_role=AUDITOR))
    report = check_bus(Database(database.engine))
    assert report.is_suitable
    assert {role.role for role in report.roles} == {BUS_ENGINE, AUDITOR}
    with pytest.raises(StorageError):
        check_bus(Database(database.agent))


def test_shown_sql_creates_the_same_database(database: BusDatabase, postgres_server: PostgresServer) -> None:
    postgres_server.execute(f"CREATE DATABASE test_plain OWNER {OWNER}")
    script = format_bus_schema(BUS_SETTINGS)
    connection_string = postgres_server.connection_string("test_plain", OWNER)
    subprocess.run(
        ["psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", connection_string], input=script, text=True, check=True
    )
    assert check_bus(Database(connection_string)).is_suitable
    upgrade_bus(Database(connection_string), BUS_SETTINGS)
    columns = """
        SELECT table_schema, table_name, column_name, data_type, is_nullable FROM information_schema.columns
        WHERE table_schema IN ('bus', 'public') ORDER BY 1, 2, 3"""
    assert postgres_server.execute(columns, "test_plain") == database.execute(columns)


def test_later_migrations_are_applied(database: BusDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    added = ("CREATE TABLE bus.added (n int)",)
    for module in (migrations, schema):
        monkeypatch.setattr(module, "MIGRATIONS", (*migrations.MIGRATIONS[:REVISION], added))
        monkeypatch.setattr(module, "REVISION", REVISION + 1)
    with pytest.raises(WorkspaceError, match="older revision") as caught:
        check_bus(Database(database.engine))
    assert caught.value.structured_hint.code == HintCode.UPGRADE_BUS
    upgrade_bus(Database(database.owner), BUS_SETTINGS)
    assert check_bus(Database(database.engine)).revision == REVISION + 1


def test_later_migrations_of_the_queue_are_applied(database: BusDatabase) -> None:
    newest = newest_queue_migration()
    assert list_queue_scripts(newest) == []
    assert len(list_queue_scripts("00.00.00_01_initial.sql")) > 1
    database.execute("UPDATE bus.version SET queue = '00.00.00'")
    with pytest.raises(WorkspaceError, match="queue"):
        check_bus(Database(database.engine))


def test_newer_revision_is_refused(database: BusDatabase) -> None:
    database.execute("UPDATE bus.version SET revision = 99")
    with pytest.raises(WorkspaceError, match="newer revision 99"):
        check_bus(Database(database.engine))
    with pytest.raises(WorkspaceError, match="newer revision 99"):
        upgrade_bus(Database(database.owner), BUS_SETTINGS)


def test_database_of_another_zone_is_refused(database: BusDatabase) -> None:
    with pytest.raises(UsageError, match=f"job bus of the zone {ZONE}"):
        upgrade_bus(Database(database.owner), msgspec.structs.replace(BUS_SETTINGS, zone="other"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (msgspec.structs.replace(BUS_SETTINGS, agent_role=BUS_ENGINE), "different roles"),
        (msgspec.structs.replace(BUS_SETTINGS, agent_role="no\x1b one"), r"no role no\\x1b one"),
    ],
)
def test_unsuitable_roles_are_refused(database: BusDatabase, settings: schema.BusSettings, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        upgrade_bus(Database(database.owner), settings)


def test_empty_database_is_not_suitable(postgres_server: PostgresServer) -> None:
    with pytest.raises(WorkspaceError, match="no tables of a job bus"):
        check_bus(Database(postgres_server.connection_string("postgres", "postgres")))


def test_lossy_setting_is_refused(database: BusDatabase) -> None:
    database.execute(f"ALTER DATABASE {database.name} SET synchronous_commit = off")
    with pytest.raises(WorkspaceError, match="synchronous_commit is off"):
        check_bus(Database(database.engine))


def test_check_finds_wrong_privileges(database: BusDatabase) -> None:
    database.execute(f"GRANT UPDATE (args) ON public.procrastinate_jobs TO {BUS_AGENT}")
    database.execute(f"GRANT DELETE ON bus.report TO {BUS_AGENT}")
    database.execute(f"GRANT CREATE ON SCHEMA public TO {BUS_AGENT}")
    database.execute(f"REVOKE SELECT ON bus.intent FROM {BUS_ENGINE}")
    report = check_bus(Database(database.engine))
    assert not report.is_suitable
    by_role = {role.role: role for role in report.roles}
    assert by_role[BUS_AGENT].excessive == (
        "CREATE on schema public",
        "DELETE on bus.report",
        "UPDATE on public.procrastinate_jobs.args",
    )
    assert by_role[BUS_ENGINE].missing == ("SELECT on bus.intent",)
