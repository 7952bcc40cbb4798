"""``sealyard bus``."""

from __future__ import annotations

from sealyard.cli.exit_codes import ExitCode
from sealyard.jobs.zone.migrations import REVISION
from tests.support.bus_database import BUS_AGENT, BUS_ENGINE, ZONE, BusDatabase
from tests.support.cli_runner import sealyard, value_of
from tests.support.postgres import OWNER, PostgresServer
from tests.support.postgres_fixtures import bus_database, postgres_server

__all__ = ["bus_database", "postgres_server"]

SETTINGS = ("--zone", ZONE, "--engine-role", BUS_ENGINE, "--agent-role", BUS_AGENT)


def test_upgrade_creates_a_suitable_database(postgres_server: PostgresServer, bus_database: BusDatabase) -> None:
    postgres_server.execute(f"CREATE DATABASE test_cli OWNER {OWNER}")
    engine = postgres_server.connection_string("test_cli", BUS_ENGINE)
    unusable = sealyard("bus", "check", postgres_server.connection_string("test_cli", OWNER))
    assert unusable.code == ExitCode.FAILED
    assert "sealyard bus upgrade" in unusable.err
    owner = postgres_server.connection_string("test_cli", OWNER)
    assert value_of("bus", "upgrade", owner, *SETTINGS) == {"revision": REVISION}
    assert sealyard("bus", "check", engine).out.splitlines() == [
        f"The bus database of the zone {ZONE} has revision {REVISION}, and suitable settings.",
        "This connection has the role of the servers.",
        f"The role {BUS_AGENT} has the privileges that it needs.",
        f"The role {BUS_ENGINE} has the privileges that it needs.",
    ]


def test_check_fails_for_wrong_privileges(bus_database: BusDatabase) -> None:
    bus_database.execute(f"GRANT DELETE ON bus.report TO {BUS_AGENT}")
    result = sealyard("bus", "check", bus_database.agent)
    assert result.code == ExitCode.FAILED
    assert "This connection has the role of the crypto hosts." in result.out
    assert f"The role {BUS_AGENT} has a privilege too many: DELETE on bus.report." in result.out


def test_show_sql_prints_a_script() -> None:
    result = sealyard("bus", "show-sql", *SETTINGS)
    assert result.out.startswith("BEGIN;\nCREATE SCHEMA bus;\n")
    assert value_of("bus", "show-sql", *SETTINGS) == {"sql": result.out}
