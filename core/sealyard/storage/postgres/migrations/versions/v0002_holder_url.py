"""Store the address of the server that holds a lease, so that other servers can forward requests to it."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE sealyard.workspace ADD COLUMN holder_url text NOT NULL DEFAULT ''")
    op.execute("GRANT UPDATE (holder_url) ON sealyard.workspace TO sealyard_engine")
