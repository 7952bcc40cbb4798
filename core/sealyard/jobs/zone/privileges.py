"""The privileges of the two roles of a bus database: that of the servers, and that of the crypto hosts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from psycopg import sql

from sealyard.model.base import FrozenStruct
from sealyard.storage.postgres.connection import Connection


class BusRole(StrEnum):
    ENGINE = "engine"
    AGENT = "agent"


Privileges = Mapping[str, tuple[str, ...]]
"""By table, the privileges as in GRANT: a word, or a word and the columns in parentheses."""

_COMMON: Privileges = {"bus.version": ("SELECT",), "bus.zone": ("SELECT",), "bus.role": ("SELECT",)}

TABLE_PRIVILEGES: Mapping[BusRole, Privileges] = {
    BusRole.ENGINE: {
        **_COMMON,
        "bus.engine": ("SELECT", "INSERT", "UPDATE"),
        "bus.host": ("SELECT", "DELETE"),
        "bus.report": ("SELECT", "DELETE"),
        "bus.instruction": ("SELECT (n, workspace, host, task, at)", "INSERT", "DELETE"),
        "bus.progress": ("SELECT", "DELETE"),
        "bus.intent": ("SELECT",),
        "public.procrastinate_jobs": ("SELECT", "INSERT", "UPDATE", "DELETE"),
        "public.procrastinate_events": ("SELECT", "INSERT", "DELETE"),
        "public.procrastinate_workers": ("SELECT",),
        "public.procrastinate_periodic_defers": ("SELECT", "UPDATE"),
    },
    BusRole.AGENT: {
        **_COMMON,
        "bus.host": (
            "SELECT",
            "INSERT (name, workspace, hostname, version, slots, running_jobs, draining, refused)",
            "UPDATE (running_jobs, draining, refused, seen_at)",
        ),
        "bus.report": ("INSERT (workspace, host, body)",),
        "bus.instruction": ("SELECT",),
        "bus.progress": ("SELECT", "INSERT", "UPDATE"),
        "bus.intent": ("SELECT", "INSERT (workspace, task, sha256, fencing_token, host)"),
        "bus.key_file": ("SELECT", "INSERT (workspace, path, content, host)"),
        # UPDATE of args must not be granted: with it, an agent could change the arguments of a job of others.
        "public.procrastinate_jobs": (
            "SELECT",
            "UPDATE (status, worker_id, attempts, abort_requested, scheduled_at)",
        ),
        "public.procrastinate_events": ("SELECT", "INSERT"),
        "public.procrastinate_workers": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    },
}

_SEQUENCES: Mapping[BusRole, tuple[str, ...]] = {
    BusRole.ENGINE: ("public.procrastinate_jobs_id_seq", "public.procrastinate_events_id_seq"),
    BusRole.AGENT: ("public.procrastinate_events_id_seq",),
}

_FUNCTIONS: Mapping[BusRole, tuple[str, ...]] = {
    BusRole.ENGINE: ("procrastinate_defer_jobs_",),
    BusRole.AGENT: (
        "procrastinate_fetch_job_",
        "procrastinate_finish_job_",
        "procrastinate_register_worker_",
        "procrastinate_unregister_worker_",
        "procrastinate_update_heartbeat_",
        "procrastinate_prune_stalled_workers_",
    ),
}
"""The beginnings of the names of Procrastinate's functions; the names end with a version."""

_KINDS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

_REVOKE_FROM_PUBLIC = """
DO $$ DECLARE f regprocedure; BEGIN
  EXECUTE format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
  REVOKE CREATE ON SCHEMA public FROM PUBLIC;
  FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'procrastinate\\_%' LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', f);
  END LOOP;
END $$
"""

_GRANT_FUNCTIONS = """
DO $$ DECLARE f regprocedure; BEGIN
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), {role});
  FOR f IN SELECT oid FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND EXISTS (
      SELECT FROM unnest({prefixes}::text[]) AS prefix WHERE starts_with(proname, prefix)) LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', f, {role});
  END LOOP;
END $$
"""

_REVOKE_ALL = """
DO $$ BEGIN
  EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA bus, public FROM %I', {role});
  EXECUTE format('REVOKE ALL ON ALL SEQUENCES IN SCHEMA bus, public FROM %I', {role});
  EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA bus, public FROM %I', {role});
  EXECUTE format('REVOKE ALL ON SCHEMA bus, public FROM %I', {role});
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), {role});
END $$
"""


class RolePrivileges(FrozenStruct, frozen=True, kw_only=True):
    """How the privileges of a role differ from what it needs. Each entry is a privilege and a table."""

    role: str
    missing: tuple[str, ...] = ()
    excessive: tuple[str, ...] = ()


def build_revocations(role: str) -> sql.Composed:
    """Return the statement that revokes all privileges of a role in the bus database."""
    return sql.SQL(_REVOKE_ALL).format(role=sql.Literal(role))


def build_grants(roles: Mapping[BusRole, str]) -> Iterator[sql.Composed | sql.SQL]:
    """Return the statements that grant each role what it needs, and PUBLIC nothing."""
    yield sql.SQL(_REVOKE_FROM_PUBLIC)
    for kind, name in roles.items():
        role = sql.Identifier(name)
        yield sql.SQL("GRANT USAGE ON SCHEMA bus, public TO {}").format(role)
        for table, privileges in TABLE_PRIVILEGES[kind].items():
            for privilege in privileges:
                # The texts are constants of this module.
                yield sql.SQL(f"GRANT {privilege} ON {table} TO {{}}").format(role)
        for sequence in _SEQUENCES[kind]:
            yield sql.SQL(f"GRANT USAGE ON SEQUENCE {sequence} TO {{}}").format(role)
        yield sql.SQL(_GRANT_FUNCTIONS).format(role=sql.Literal(name), prefixes=sql.Literal(list(_FUNCTIONS[kind])))


def compare_privileges(connection: Connection, kind: BusRole, role: str) -> RolePrivileges:
    """Compare the privileges of a role with what it needs, including those that it has as a member of other roles."""
    actual = _read_privileges(connection, role)
    needed = _expected_privileges(kind)
    return RolePrivileges(role=role, missing=tuple(sorted(needed - actual)), excessive=tuple(sorted(actual - needed)))


_READ_COLUMNS = """
SELECT format('%s.%s', n.nspname, c.relname), a.attname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE (n.nspname = 'bus' OR n.nspname = 'public' AND c.relname LIKE 'procrastinate\\_%%') AND c.relkind = 'r'
ORDER BY 1, a.attnum
"""

_READ_PRIVILEGES = """
SELECT t, p FROM unnest(%(tables)s::text[]) t, unnest(%(kinds)s::text[]) p WHERE has_table_privilege(%(role)s, t, p)
UNION ALL
SELECT format('%%s.%%s', t, c), p
FROM unnest(%(column_tables)s::text[], %(columns)s::text[]) AS x(t, c), unnest('{SELECT,INSERT,UPDATE}'::text[]) p
WHERE has_column_privilege(%(role)s, t, c, p) AND NOT has_table_privilege(%(role)s, t, p)
UNION ALL
SELECT format('schema %%s', s), 'CREATE' FROM unnest('{bus,public}'::text[]) s
WHERE has_schema_privilege(%(role)s, s, 'CREATE')
"""


def _read_privileges(connection: Connection, role: str) -> set[str]:
    columns = connection.execute(_READ_COLUMNS).fetchall()
    parameters: dict[str, Any] = {
        "role": role,
        "kinds": list(_KINDS),
        "tables": sorted({table for table, _ in columns}),
        "column_tables": [table for table, _ in columns],
        "columns": [column for _, column in columns],
    }
    return {f"{privilege} on {target}" for target, privilege in connection.execute(_READ_PRIVILEGES, parameters)}


def _expected_privileges(kind: BusRole) -> set[str]:
    expected = set()
    for table, privileges in TABLE_PRIVILEGES[kind].items():
        for privilege in privileges:
            word, _, columns = privilege.rstrip(")").partition(" (")
            targets = [f"{table}.{column}" for column in columns.split(", ")] if columns else [table]
            expected |= {f"{word} on {target}" for target in targets}
    return expected
