"""Create, migrate and check a bus database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources

import psycopg
from psycopg import sql

from sealyard.jobs.zone.migrations import CREATE_SCHEMA, MIGRATIONS, REVISION
from sealyard.jobs.zone.privileges import (
    BusRole,
    RolePrivileges,
    build_grants,
    build_revocations,
    compare_privileges,
)
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError, WorkspaceError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text
from sealyard.storage.postgres.connection import Connection, Database, storage_error

_UPGRADE_HINT = Hint.of(HintCode.UPGRADE_BUS)


class BusSettings(FrozenStruct, frozen=True, kw_only=True):
    """What a bus database is for. ``roles``: by kind, the role of the servers and that of the crypto hosts."""

    zone: str
    engine_role: str
    agent_role: str

    @property
    def roles(self) -> Mapping[BusRole, str]:
        return {BusRole.ENGINE: self.engine_role, BusRole.AGENT: self.agent_role}


class BusReport(FrozenStruct, frozen=True, kw_only=True):
    """The result of a check. ``connected_as``: the kind of the role that made it, empty if it is neither."""

    zone: str
    revision: int
    queue_revision: str
    connected_as: str
    roles: tuple[RolePrivileges, ...]

    @property
    def is_suitable(self) -> bool:
        return not any(role.missing or role.excessive for role in self.roles)


def upgrade_bus(database: Database, settings: BusSettings) -> None:
    """Create or migrate the tables and grant the privileges in one transaction, as the owner of the database.

    Raises :class:`UsageError` if the two roles are the same or one does not exist, or if the database is that of
    another zone, :class:`WorkspaceError` if the schema is newer, and :class:`StorageError` if the database refuses it.
    """
    with _connected(database, "migrating the bus database") as connection, connection.transaction():
        _require_roles(connection, settings)
        revision, queue_revision = _read_revision(connection) or (0, "")
        if revision > REVISION:
            raise _newer_schema_error(revision)
        if not revision:
            for statement in CREATE_SCHEMA:
                connection.execute(statement.encode())
        for statements in MIGRATIONS[revision:]:
            for statement in statements:
                connection.execute(statement.encode())
        for script in list_queue_scripts(queue_revision):
            connection.execute(script.encode())
        connection.execute(
            """
            INSERT INTO bus.version (revision, queue) VALUES (%s, %s)
            ON CONFLICT (is_only) DO UPDATE SET revision = excluded.revision, queue = excluded.queue
            """,
            (REVISION, newest_queue_migration()),
        )
        _claim_zone(connection, settings.zone)
        for (role,) in connection.execute("SELECT name FROM bus.role WHERE name IN (SELECT rolname FROM pg_roles)"):
            connection.execute(build_revocations(role))
        connection.execute("DELETE FROM bus.role")
        for kind, role in settings.roles.items():
            connection.execute("INSERT INTO bus.role (kind, name) VALUES (%s, %s)", (kind, role))
        for grant in build_grants(settings.roles):
            connection.execute(grant)


def format_bus_schema(settings: BusSettings) -> str:
    """Return the SQL that creates the tables and grants the privileges, for administrators who execute it."""
    statements = [*CREATE_SCHEMA, *(statement for revision in MIGRATIONS for statement in revision)]
    values = sql.SQL("INSERT INTO bus.version (revision, queue) VALUES ({}, {})").format(
        REVISION, newest_queue_migration()
    )
    zone = sql.SQL("INSERT INTO bus.zone (name) VALUES ({})").format(settings.zone)
    roles = [
        sql.SQL("INSERT INTO bus.role (kind, name) VALUES ({}, {})").format(str(kind), role)
        for kind, role in settings.roles.items()
    ]
    texts = [
        *(_dedent(statement) for statement in statements),
        *(text.strip().rstrip(";") for text in list_queue_scripts("")),
        *(each.as_string().strip() for each in (values, zone, *roles, *build_grants(settings.roles))),
    ]
    return "BEGIN;\n" + "".join(f"{text};\n" for text in texts) + "COMMIT;\n"


def check_bus(database: Database) -> BusReport:
    """Check a bus database with any role that may connect to it.

    Raises :class:`WorkspaceError` if it has no tables, other revisions than this version needs, or settings with
    which it may lose messages, and :class:`StorageError` if it cannot be reached.
    """
    with _connected(database, "checking the bus database") as connection:
        revision, queue_revision = check_revision(connection)
        _check_settings(connection)
        rows = connection.execute("SELECT kind, name, pg_has_role(name, 'MEMBER') FROM bus.role ORDER BY kind")
        roles = {BusRole(kind): (name, is_member) for kind, name, is_member in rows}
        members = [kind for kind, (_, is_member) in roles.items() if is_member]
        zone = connection.execute("SELECT name FROM bus.zone").fetchone()
        return BusReport(
            zone=zone[0] if zone else "",
            revision=revision,
            queue_revision=queue_revision,
            connected_as=members[0] if len(members) == 1 else "",
            roles=tuple(compare_privileges(connection, kind, name) for kind, (name, _) in roles.items()),
        )


def check_revision(connection: Connection) -> tuple[int, str]:
    """Check that the tables are those that this version needs, and return their revision and that of the queue.

    Raises :class:`WorkspaceError` if not.
    """
    versions = _read_revision(connection)
    if versions is None:
        raise WorkspaceError("The database has no tables of a job bus.", _UPGRADE_HINT)
    revision, queue_revision = versions
    if revision < REVISION:
        message = f"The bus database has the older revision {revision}; {REVISION} is needed."
        raise WorkspaceError(message, _UPGRADE_HINT)
    if revision > REVISION:
        raise _newer_schema_error(revision)
    if queue_revision < newest_queue_migration():
        raise WorkspaceError("The queue in the bus database has an older revision.", _UPGRADE_HINT)
    return versions


def newest_queue_migration() -> str:
    """Return the name of the newest migration of the installed version of Procrastinate."""
    return max(_list_queue_migrations())


def list_queue_scripts(applied: str) -> list[str]:
    """Return the SQL scripts that create Procrastinate's tables, or migrate them.

    ``applied``: the newest migration that was applied; empty if there are no tables.
    """
    if not applied:
        from procrastinate.schema import SchemaManager

        return [SchemaManager.get_schema()]
    return [script for name, script in sorted(_list_queue_migrations().items()) if name > applied]


def _list_queue_migrations() -> dict[str, str]:
    folder = resources.files("procrastinate.sql") / "migrations"
    return {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.name.endswith(".sql")}


def _require_roles(connection: Connection, settings: BusSettings) -> None:
    if settings.engine_role == settings.agent_role:
        raise UsageError("Servers and crypto hosts need different roles.", "Create a role for each of them.")
    for role in settings.roles.values():
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
            name = escape_text(role, 100)
            raise UsageError(f"The database has no role {name}.", "Create it with CREATE ROLE, or check its name.")


def _claim_zone(connection: Connection, zone: str) -> None:
    row = connection.execute("SELECT name FROM bus.zone").fetchone()
    if row is None:
        connection.execute("INSERT INTO bus.zone (name) VALUES (%s)", (zone,))
    elif row[0] != zone:
        raise UsageError(
            f"The database is the job bus of the zone {escape_text(row[0], 100)}.", "Create a database for each zone."
        )


def _check_settings(connection: Connection) -> None:
    row = connection.execute(
        "SELECT current_setting('server_encoding'), current_setting('synchronous_commit')"
    ).fetchone()
    assert row is not None
    encoding, synchronous_commit = row
    if encoding != "UTF8":
        raise WorkspaceError(f"The bus database has the encoding {encoding}.", "Create it with the encoding UTF8.")
    if synchronous_commit not in ("on", "remote_apply"):
        raise WorkspaceError(
            f"The bus database may lose messages: synchronous_commit is {synchronous_commit}.",
            "Set it to on for the database and for the roles of servers and crypto hosts.",
        )


def _read_revision(connection: Connection) -> tuple[int, str] | None:
    """Return the revisions of the tables and of the queue; None if there are no tables."""
    if connection.execute("SELECT to_regclass('bus.version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT revision, queue FROM bus.version").fetchone()
    return None if row is None else (row[0], row[1])


def _newer_schema_error(revision: int) -> WorkspaceError:
    return WorkspaceError(
        f"The bus database has the newer revision {revision}; this version knows {REVISION}.",
        "Use the version of Sealyard that migrated it, or a newer one.",
    )


@contextmanager
def _connected(database: Database, action: str) -> Iterator[Connection]:
    connection = database.connect()
    try:
        yield connection
    except psycopg.Error as error:
        raise storage_error(error, action) from None
    finally:
        connection.close()


def _dedent(statement: str) -> str:
    return "\n".join(line.removeprefix("        ") for line in statement.strip().splitlines())
