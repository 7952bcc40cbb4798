"""Create and check the schema of the database. Alembic runs the migrations in the folder ``migrations``."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psycopg

from sealyard.model.errors import WorkspaceError
from sealyard.model.hints import Hint, HintCode
from sealyard.storage.postgres.connection import Connection, Database, storage_error

if TYPE_CHECKING:
    from alembic.config import Config

REVISION = "0002"
"""The newest migration. Engines of this version require it."""

ENGINE_ROLE = "sealyard_engine"
"""The role whose members engines are. The operator creates it; the migrations grant it its privileges."""

_UPGRADE_HINT = Hint.of(HintCode.UPGRADE_DATABASE)


def upgrade_schema(database: Database) -> None:
    """Create or migrate the schema, in one transaction, as the owner of the tables.

    Raises :class:`StorageError` if the database refuses it, and :class:`WorkspaceError` if the role of the engines is
    missing.
    """
    from alembic import command
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError

    with _connected(database) as connection:
        _require_engine_role(connection)
    engine = create_engine("postgresql+psycopg://", creator=partial(database.connect, autocommit=False))
    try:
        with engine.begin() as transaction:
            config = _build_config()
            config.attributes["connection"] = transaction
            command.upgrade(config, REVISION)
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
    return output.getvalue()


def check_database(database: Database) -> None:
    """Check a database; see :func:`check_schema`. Raises :class:`StorageError` if it cannot be reached."""
    with _connected(database) as connection:
        check_schema(connection)


def check_schema(connection: Connection) -> None:
    """Check that the database has the schema of this version, and keeps what it acknowledges.

    Raises :class:`WorkspaceError` if not.
    """
    try:
        revision = _read_revision(connection)
        encoding, synchronous_commit = _read_settings(connection)
    except psycopg.Error as error:
        raise storage_error(error, "reading its version") from None
    if revision is None:
        raise WorkspaceError("The database has no tables of Sealyard.", _UPGRADE_HINT)
    if revision < REVISION:
        raise WorkspaceError(f"The database has the older schema {revision}; {REVISION} is needed.", _UPGRADE_HINT)
    if revision > REVISION:
        raise WorkspaceError(
            f"The database has the newer schema {revision}; this version knows {REVISION}.",
            "Use the version of Sealyard that migrated it, or a newer one.",
        )
    if encoding != "UTF8":
        raise WorkspaceError(f"The database has the encoding {encoding}.", "Create it with the encoding UTF8.")
    if synchronous_commit not in ("on", "remote_apply"):
        raise WorkspaceError(
            f"The database may lose commits that it has acknowledged: synchronous_commit is {synchronous_commit}.",
            "Set it to on for the database and for the role of the engine.",
        )


def _read_revision(connection: Connection) -> str | None:
    """Return the revision of the schema; None if there is no schema."""
    if connection.execute("SELECT to_regclass('sealyard.alembic_version')").fetchone() == (None,):
        return None
    row = connection.execute("SELECT version_num FROM sealyard.alembic_version").fetchone()
    return None if row is None else str(row[0])


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
