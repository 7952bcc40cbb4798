"""The environment of the migrations, which Alembic runs. :mod:`sealyard.storage.postgres.schema` starts it."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

SCHEMA = "sealyard"

_CREATE_SCHEMA = f"CREATE SCHEMA {SCHEMA}"


def _run_offline() -> None:
    """Print the SQL instead of executing it."""
    context.configure(dialect_name="postgresql", version_table_schema=SCHEMA)
    with context.begin_transaction():
        context.execute(_CREATE_SCHEMA)
        context.run_migrations()


def _run_online(connection: Connection) -> None:
    # "IF NOT EXISTS" would need the privilege to create schemas even where an administrator has created it.
    if connection.scalar(text("SELECT to_regnamespace(:name)"), {"name": SCHEMA}) is None:
        connection.execute(text(_CREATE_SCHEMA))
    context.configure(connection=connection, version_table_schema=SCHEMA)
    context.run_migrations()


if context.is_offline_mode():
    _run_offline()
else:
    _run_online(context.config.attributes["connection"])
