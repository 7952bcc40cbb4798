"""Create and check the schema of the database. Alembic runs the migrations in the folder ``migrations``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psycopg

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import NotFoundError, UsageError, WorkspaceError
from sealyard.model.hints import Hint, HintCode
from sealyard.storage.postgres.connection import Connection, Database, storage_error

if TYPE_CHECKING:
    from alembic.config import Config

REVISION = "0004"
"""The newest migration. Engines of this version require it, and accept later ones that support this version."""

ENGINE_ROLE = "sealyard_engine"
"""The role whose members engines are. The operator creates it; the migrations grant it its privileges."""

REPORT_ROLE = "sealyard_report"
"""The role whose members may read all tables. It is optional; the operator creates it."""

_GRANT_REPORT = f"""
DO $$ BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{REPORT_ROLE}') THEN
    GRANT USAGE ON SCHEMA sealyard TO {REPORT_ROLE};
    GRANT SELECT ON ALL TABLES IN SCHEMA sealyard TO {REPORT_ROLE};
  END IF;
END $$
"""
"""No migration, because the role can be created later than the tables."""

_UPGRADE_HINT = Hint.of(HintCode.UPGRADE_DATABASE)


class DatabaseVersions(FrozenStruct, frozen=True, kw_only=True):
    """What decides which versions of Sealyard can use a database.

    ``revision`` is the newest migration that was applied, ``oldest_revision`` the oldest one whose engines can use the
    result. ``formats`` has the format of the documents of each workspace.
    """

    revision: str
    oldest_revision: str
    formats: dict[str, int]


def upgrade_schema(database: Database) -> None:
    """Create or migrate the schema, and grant the privileges, in one transaction, as the owner of the tables.

    Raises :class:`StorageError` if the database refuses it, and :class:`WorkspaceError` if the role of the engines is
    missing, or if the schema is newer.
    """
    from alembic import command
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError

    with _connected(database) as connection:
        _require_engine_role(connection)
        revision = _read_revision(connection)
    if revision is not None and revision > REVISION:
        raise _newer_schema_error(revision)
    engine = create_engine("postgresql+psycopg://", creator=partial(database.connect, autocommit=False))
    try:
        with engine.begin() as transaction:
            config = _build_config()
            config.attributes["connection"] = transaction
            command.upgrade(config, REVISION)
            transaction.exec_driver_sql(_GRANT_REPORT)
    except DBAPIError as error:
        raise storage_error(cast("psycopg.Error", error.orig), "migrating the schema") from None
    finally:
        engine.dispose()


def format_schema() -> str:
    """Return the SQL that creates the schema, for administrators who execute it themselves."""
    from alembic import command

    output = io.StringIO()
    config = _build_config(output)
    command.upgrade(config, REVISION, sql=True)
    return f"{output.getvalue()}{_GRANT_REPORT.strip()};\n"


def check_database(database: Database) -> DatabaseVersions:
    """Check a database; see :func:`check_schema`. Raises :class:`StorageError` if it cannot be reached."""
    with _connected(database) as connection:
        revision = check_schema(connection)
        rows = connection.execute("SELECT id, format FROM sealyard.workspace ORDER BY id").fetchall()
        return DatabaseVersions(
            revision=revision, oldest_revision=_read_oldest_revision(connection), formats=dict(rows)
        )


def check_schema(connection: Connection) -> str:
    """Check that the database has a schema that this version supports, and keeps what it acknowledges.

    Returns the revision of the schema. Raises :class:`WorkspaceError` if the database is unsuitable.
    """
    revision = check_revision(connection)
    try:
        encoding, synchronous_commit = _read_settings(connection)
    except psycopg.Error as error:
        raise storage_error(error, "reading its version") from None
    if encoding != "UTF8":
        raise WorkspaceError(f"The database has the encoding {encoding}.", "Create it with the encoding UTF8.")
    if synchronous_commit not in ("on", "remote_apply"):
        raise WorkspaceError(
            f"The database may lose commits that it has acknowledged: synchronous_commit is {synchronous_commit}.",
            "Set it to on for the database and for the role of the engine.",
        )
    return revision


def find_workspace(database: Database, workspace_id: str | None) -> str:
    """Return the id of a workspace in the database, which is the only one if ``workspace_id`` is None.

    Raises :class:`NotFoundError` if there is no such workspace, :class:`UsageError` if there are several, and the
    errors of :func:`check_revision`.
    """
    with _connected(database) as connection:
        check_revision(connection)
        rows = connection.execute("SELECT id FROM sealyard.workspace ORDER BY id").fetchall()
    identities = [str(identity) for (identity,) in rows]
    selected = identities if workspace_id is None else [each for each in identities if each == workspace_id]
    if not selected:
        raise NotFoundError("The database does not contain the workspace.", "Check its id and the connection string.")
    if len(selected) > 1:
        raise UsageError(f"The database has {len(selected)} workspaces.", f"Select one: {', '.join(selected)}.")
    return selected[0]


def check_revision(connection: Connection) -> str:
    """Check that the database has a schema that this version supports, and return its revision.

    Raises :class:`WorkspaceError` if not.
    """
    try:
        revision = _read_revision(connection)
        is_too_new = revision is not None and revision > REVISION and _read_oldest_revision(connection) > REVISION
    except psycopg.Error as error:
        raise storage_error(error, "reading its version") from None
    if revision is None:
        raise WorkspaceError("The database has no tables of Sealyard.", _UPGRADE_HINT)
    if revision < REVISION:
        raise WorkspaceError(f"The database has the older schema {revision}; {REVISION} is needed.", _UPGRADE_HINT)
    if is_too_new:
        raise _newer_schema_error(revision)
    return revision


def _read_revision(connection: Connection) -> str | None:
    """Return the revision of the schema; None if there is no schema."""
    if connection.execute("SELECT to_regclass('sealyard.alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM sealyard.alembic_version").fetchone()
    return None if row is None else str(row[0])


def _read_oldest_revision(connection: Connection) -> str:
    """Return the oldest revision whose engines can use the schema, which must have revision 0004 or newer."""
    row = connection.execute("SELECT max(oldest_revision) FROM sealyard.compatibility").fetchone()
    assert row is not None
    return str(row[0])


def _newer_schema_error(revision: str) -> WorkspaceError:
    return WorkspaceError(
        f"The database has the newer schema {revision}; this version knows {REVISION}.",
        "Use the version of Sealyard that migrated it, or a newer one.",
    )


def _read_settings(connection: Connection) -> tuple[str, str]:
    row = connection.execute(
        "SELECT current_setting('server_encoding'), current_setting('synchronous_commit')"
    ).fetchone()
    assert row is not None
    return str(row[0]), str(row[1])


def _require_engine_role(connection: Connection) -> None:
    row = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ENGINE_ROLE,)).fetchone()
    if row is None:
        raise WorkspaceError(
            f"The database has no role {ENGINE_ROLE}.",
            f"Create it (CREATE ROLE {ENGINE_ROLE} NOLOGIN), and make the role of the engine a member of it.",
        )


@contextmanager
def _connected(database: Database) -> Iterator[Connection]:
    connection = database.connect()
    try:
        yield connection
    except psycopg.Error as error:
        raise storage_error(error, "reading its roles") from None
    finally:
        connection.close()


def _build_config(output: io.StringIO | None = None) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
