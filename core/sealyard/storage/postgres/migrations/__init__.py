"""The schema of the database, as Alembic migrations."""
