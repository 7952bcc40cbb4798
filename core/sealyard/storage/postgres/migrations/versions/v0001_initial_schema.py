"""Create the tables, and grant the engine's role what it needs."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

_STATEMENTS = (
    """
    CREATE TABLE sealyard.workspace (
      id text COLLATE "C" PRIMARY KEY,
      created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      format int NOT NULL,
      term bigint NOT NULL,
      holder text NOT NULL,
      lease_until timestamptz NOT NULL,
      signed_term bigint NOT NULL,
      generation bigint NOT NULL,
      generation_id text NOT NULL,
      previous_generation_id text NOT NULL,
      position bigint NOT NULL,
      next_seq bigint NOT NULL,
      previous text NOT NULL,
      cursor bigint NOT NULL,
      mac bytea NOT NULL)
    """,
    """
    CREATE TABLE sealyard.document (
      workspace text COLLATE "C" NOT NULL REFERENCES sealyard.workspace,
      kind text COLLATE "C" NOT NULL,
      id text COLLATE "C" NOT NULL,
      body json NOT NULL,
      position bigint NOT NULL,
      mac bytea NOT NULL,
      PRIMARY KEY (workspace, kind, id)) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE sealyard.event (
      workspace text COLLATE "C" NOT NULL REFERENCES sealyard.workspace,
      cursor bigint NOT NULL,
      body json NOT NULL,
      mac bytea NOT NULL,
      PRIMARY KEY (workspace, cursor))
    """,
    """
    CREATE TABLE sealyard.audit_entry (
      workspace text COLLATE "C" NOT NULL REFERENCES sealyard.workspace,
      seq bigint NOT NULL,
      line json NOT NULL,
      position bigint NOT NULL,
      PRIMARY KEY (workspace, seq))
    """,
    "CREATE INDEX audit_entry_resource ON sealyard.audit_entry (workspace, (line->>'resource'), seq DESC)",
    "CREATE INDEX audit_entry_author ON sealyard.audit_entry (workspace, (line->>'author'), seq DESC)",
    """
    CREATE TABLE sealyard.audit_checkpoint (
      workspace text COLLATE "C" NOT NULL REFERENCES sealyard.workspace,
      size bigint NOT NULL,
      note text COLLATE "C" NOT NULL,
      at timestamptz NOT NULL DEFAULT clock_timestamp(),
      PRIMARY KEY (workspace, size))
    """,
    """
    CREATE TABLE sealyard.audit_key (
      workspace text COLLATE "C" PRIMARY KEY REFERENCES sealyard.workspace,
      public_key text COLLATE "C" NOT NULL)
    """,
    "GRANT USAGE ON SCHEMA sealyard TO sealyard_engine",
    "GRANT SELECT ON sealyard.alembic_version TO sealyard_engine",
    "GRANT SELECT, INSERT ON sealyard.workspace TO sealyard_engine",
    """
    GRANT UPDATE (term, holder, lease_until, signed_term, generation, generation_id, previous_generation_id, position,
      next_seq, previous, cursor, mac) ON sealyard.workspace TO sealyard_engine
    """,
    "GRANT SELECT, INSERT, UPDATE, DELETE ON sealyard.document TO sealyard_engine",
    "GRANT SELECT, INSERT, DELETE ON sealyard.event TO sealyard_engine",
    "GRANT SELECT, INSERT ON sealyard.audit_entry, sealyard.audit_checkpoint, sealyard.audit_key TO sealyard_engine",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
