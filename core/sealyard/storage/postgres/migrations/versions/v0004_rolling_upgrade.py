"""Store the tree of the audit log with each checkpoint, and what servers of different versions need of each other."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0002"

_STATEMENTS = (
    "ALTER TABLE sealyard.audit_checkpoint ADD COLUMN frontier bytea[]",
    "ALTER TABLE sealyard.workspace ADD COLUMN holder_format int NOT NULL DEFAULT 1",
    "GRANT UPDATE (holder_format) ON sealyard.workspace TO sealyard_engine",
    "CREATE TABLE sealyard.compatibility (oldest_revision text NOT NULL)",
    "INSERT INTO sealyard.compatibility VALUES ('0004')",
    "GRANT SELECT ON sealyard.compatibility TO sealyard_engine",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
