"""Store the tree of the audit log with each checkpoint."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0002"


def upgrade() -> None:
    op.execute("ALTER TABLE sealyard.audit_checkpoint ADD COLUMN frontier bytea[]")
