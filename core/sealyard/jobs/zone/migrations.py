"""The tables of a bus database. A later version appends its changes to :data:`MIGRATIONS` and never edits earlier ones.

Procrastinate's own tables are in the schema ``public``; its library contains their migrations.
"""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE bus.zone (
          name text PRIMARY KEY,
          created_at timestamptz NOT NULL DEFAULT clock_timestamp())
        """,
        """
        CREATE TABLE bus.role (
          kind text PRIMARY KEY,
          name text NOT NULL)
        """,
        """
        CREATE TABLE bus.engine (
          workspace text PRIMARY KEY,
          term bigint NOT NULL,
          holder text NOT NULL,
          at timestamptz NOT NULL DEFAULT clock_timestamp())
        """,
        """
        CREATE TABLE bus.host (
          name text PRIMARY KEY,
          workspace text NOT NULL,
          hostname text NOT NULL,
          version text NOT NULL,
          slots int NOT NULL,
          running_jobs int NOT NULL DEFAULT 0,
          draining boolean NOT NULL DEFAULT false,
          refused jsonb NOT NULL DEFAULT '[]',
          started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
          seen_at timestamptz NOT NULL DEFAULT clock_timestamp()) WITH (fillfactor = 50)
        """,
        """
        CREATE TABLE bus.report (
          n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
          workspace text NOT NULL,
          host text NOT NULL,
          body bytea NOT NULL,
          at timestamptz NOT NULL DEFAULT clock_timestamp())
        """,
        """
        CREATE TABLE bus.instruction (
          n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
          id uuid NOT NULL UNIQUE,
          workspace text NOT NULL,
          host text NOT NULL,
          task text NOT NULL DEFAULT '',
          body bytea NOT NULL,
          signature bytea NOT NULL,
          at timestamptz NOT NULL DEFAULT clock_timestamp())
        """,
        "CREATE INDEX instruction_host ON bus.instruction (host, n)",
        "CREATE INDEX instruction_task ON bus.instruction (workspace, task)",
        """
        CREATE UNLOGGED TABLE bus.progress (
          workspace text NOT NULL,
          task text NOT NULL,
          fencing_token int NOT NULL,
          done bigint NOT NULL,
          total bigint NOT NULL,
          at timestamptz NOT NULL DEFAULT clock_timestamp(),
          PRIMARY KEY (workspace, task, fencing_token)) WITH (fillfactor = 50)
        """,
        """
        CREATE TABLE bus.intent (
          workspace text NOT NULL,
          task text NOT NULL,
          sha256 text NOT NULL,
          fencing_token int NOT NULL,
          host text NOT NULL,
          at timestamptz NOT NULL DEFAULT clock_timestamp(),
          PRIMARY KEY (workspace, task))
        """,
        """
        CREATE TABLE bus.key_file (
          n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
          workspace text NOT NULL,
          path text NOT NULL,
          content bytea NOT NULL,
          host text NOT NULL,
          at timestamptz NOT NULL DEFAULT clock_timestamp())
        """,
    ),
)
"""The statements of each revision; the first one has number 1."""

REVISION = len(MIGRATIONS)
"""The newest revision. This version requires exactly this one."""

CREATE_SCHEMA = (
    "CREATE SCHEMA bus",
    """
    CREATE TABLE bus.version (
      is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
      revision int NOT NULL,
      queue text NOT NULL)
    """,
)
"""``queue``: the newest migration of Procrastinate that was applied."""
