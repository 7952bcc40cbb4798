"""Bus databases of a crypto zone for tests, with a role for servers and one for crypto hosts."""

from __future__ import annotations

from typing import Any

from sealyard.jobs.zone.schema import BusSettings, upgrade_bus
from sealyard.storage.postgres.connection import Database
from tests.support.postgres import OWNER, PostgresServer

BUS_ENGINE, BUS_AGENT = "bus_engine", "bus_agent"
ZONE = "hsm"
BUS_SETTINGS = BusSettings(zone=ZONE, engine_role=BUS_ENGINE, agent_role=BUS_AGENT)
_TEMPLATE = "bus_template"


class BusDatabase:
    """A bus database. ``engine`` and ``agent``: the connection strings of servers and of crypto hosts."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server = server
        self.name = name
        self.engine = server.connection_string(name, BUS_ENGINE)
        self.agent = server.connection_string(name, BUS_AGENT)
        self.owner = server.connection_string(name, OWNER)

    def execute(self, statement: str, parameters: Any = None) -> list[Any]:
        """Execute a statement as the administrator of the server, and return its rows."""
        return self.server.execute(statement, self.name, parameters)

    def disconnect(self, *roles: str) -> int:
        """End all sessions of the roles, and return how many there were."""
        return len(
            self.server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = ANY(%s)",
                parameters=(self.name, list(roles)),
            )
        )


def create_bus_roles(server: PostgresServer) -> None:
    for role in (BUS_ENGINE, BUS_AGENT):
        server.execute(f"CREATE ROLE {role} LOGIN")


def create_bus_database(server: PostgresServer, *, prefix: str = "test") -> BusDatabase:
    """Create a database with the tables of a job bus, see :meth:`PostgresServer.create_database`."""
    if not server.execute("SELECT 1 FROM pg_database WHERE datname = %s", parameters=(_TEMPLATE,)):
        create_bus_roles(server)
        server.execute(f"CREATE DATABASE {_TEMPLATE} OWNER {OWNER}")
        upgrade_bus(Database(server.connection_string(_TEMPLATE, OWNER)), BUS_SETTINGS)
    name = server.create_database(_TEMPLATE, prefix=prefix).name
    # A copy has the privileges inside of the template, but not those on the database itself.
    server.execute(f"GRANT CONNECT ON DATABASE {name} TO {BUS_ENGINE}, {BUS_AGENT}")
    server.execute(f"REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC")
    return BusDatabase(server, name)
