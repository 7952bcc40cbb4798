"""The SQL statements of the store."""

from __future__ import annotations

ACQUIRE_LEASE = """
UPDATE sealyard.workspace
SET term = term + 1, holder = %(holder)s, holder_url = %(holder_url)s, holder_format = %(known_format)s,
  lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = %(workspace)s AND lease_until < clock_timestamp() AND format <= %(known_format)s
RETURNING term, signed_term, generation, generation_id, previous_generation_id, position, next_seq, previous, cursor,
  mac
"""

READ_LEASE = """
SELECT format, term, holder, holder_url,
  (extract(epoch FROM lease_until) - extract(epoch FROM clock_timestamp()))::float8
FROM sealyard.workspace WHERE id = %(workspace)s
"""

RENEW_LEASE = """
UPDATE sealyard.workspace SET lease_until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = %(workspace)s AND term = %(term)s
"""

RELEASE_LEASE = """
UPDATE sealyard.workspace SET holder = '', holder_url = '', lease_until = '-infinity'
WHERE id = %(workspace)s AND term = %(term)s
"""

CREATE_WORKSPACE = """
INSERT INTO sealyard.workspace (id, format, term, holder, holder_url, holder_format, lease_until, signed_term,
  generation, generation_id, previous_generation_id, position, next_seq, previous, cursor, mac)
VALUES (%(workspace)s, %(known_format)s, %(term)s, %(holder)s, %(holder_url)s, %(known_format)s,
  clock_timestamp() + make_interval(secs => %(seconds)s), %(term)s, %(generation)s, %(generation_id)s,
  %(previous_generation_id)s, %(position)s, %(next_seq)s, %(previous)s, %(cursor)s, %(mac)s)
ON CONFLICT DO NOTHING
"""

TAKE_OVER = """
UPDATE sealyard.workspace
SET signed_term = %(term)s, generation = %(generation)s, generation_id = %(generation_id)s,
  previous_generation_id = %(previous_generation_id)s, position = %(position)s, mac = %(mac)s
WHERE id = %(workspace)s AND term = %(term)s AND position = %(position)s - 1
"""
"""Advances the position, so that no commit of an earlier term matches, even if its term was put back."""

COMMIT = """
WITH held AS (
  UPDATE sealyard.workspace
  SET position = %(position)s, next_seq = %(next_seq)s, previous = %(previous)s, cursor = %(cursor)s, mac = %(mac)s
  WHERE id = %(workspace)s AND term = %(term)s AND generation_id = %(generation_id)s AND position = %(position)s - 1
  RETURNING position),
put AS (
  INSERT INTO sealyard.document (workspace, kind, id, body, position, mac)
  SELECT %(workspace)s, t.kind, t.id, t.body::json, held.position, t.mac
  FROM held, unnest(%(kinds)b::text[], %(ids)b::text[], %(bodies)b::text[], %(macs)b::bytea[]) AS t(kind, id, body, mac)
  ON CONFLICT (workspace, kind, id) DO UPDATE
  SET body = excluded.body, position = excluded.position, mac = excluded.mac),
deleted AS (
  DELETE FROM sealyard.document d
  USING held, unnest(%(deleted_kinds)b::text[], %(deleted_ids)b::text[]) AS t(kind, id)
  WHERE d.workspace = %(workspace)s AND d.kind = t.kind AND d.id = t.id),
audited AS (
  INSERT INTO sealyard.audit_entry (workspace, seq, line, position)
  SELECT %(workspace)s, t.seq, t.line::json, held.position
  FROM held, unnest(%(seqs)b::bigint[], %(lines)b::text[]) AS t(seq, line)),
published AS (
  INSERT INTO sealyard.event (workspace, cursor, body, mac)
  SELECT %(workspace)s, t.cursor, t.body::json, t.mac
  FROM held, unnest(%(cursors)b::bigint[], %(events)b::text[], %(event_macs)b::bytea[]) AS t(cursor, body, mac)),
trimmed AS (
  DELETE FROM sealyard.event e USING held
  WHERE e.workspace = %(workspace)s AND e.cursor <= %(cursor)s - %(kept_events)s)
SELECT position FROM held
"""
"""Commits a group of batches, if the engine still holds the lease and the database has its last commit.

After the database was restored to an older state, terms and positions are used again, but no generation is.

The arrays are sent in binary format (``b``): psycopg needs 200 times as long to quote and escape long texts.
"""

READ_OUTCOME = """
SELECT term, generation_id, position, mac FROM sealyard.workspace WHERE id = %(workspace)s FOR UPDATE
"""
"""Waits for a commit in progress, because of FOR UPDATE."""

LOAD_DOCUMENTS = """
SELECT kind, id, convert_to(body::text, 'UTF8'), position, mac FROM sealyard.document WHERE workspace = {workspace}
"""
"""Executed with COPY, which takes no parameters: ``{workspace}`` is replaced by a literal."""

DOCUMENT_TYPES = ("text", "text", "bytea", "int8", "bytea")

LOAD_EVENTS = """
SELECT cursor, convert_to(body::text, 'UTF8'), mac FROM sealyard.event WHERE workspace = {workspace} ORDER BY cursor
"""
"""Like :data:`LOAD_DOCUMENTS`."""

EVENT_TYPES = ("int8", "bytea", "bytea")
