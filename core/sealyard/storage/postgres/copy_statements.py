"""The SQL statements of a move into or out of a database."""

from __future__ import annotations

READ_ROW = """
SELECT term, position, format, generation_id, holder, lease_until = 'infinity'
FROM sealyard.workspace WHERE id = %(workspace)s
"""

LOCK_ROW = READ_ROW + " FOR UPDATE"

RESERVE_ROW = """
INSERT INTO sealyard.workspace (id, format, term, holder, lease_until, signed_term, generation, generation_id,
  previous_generation_id, position, next_seq, previous, cursor, mac)
VALUES (%(workspace)s, %(format)s, 0, %(holder)s, 'infinity', 0, 0, %(attempt)s, '', 0, 0, %(previous)s, 0, '')
ON CONFLICT DO NOTHING
"""

SIGN_COPY = """
UPDATE sealyard.workspace
SET term = %(term)s, holder = %(holder)s, holder_url = '', lease_until = 'infinity', signed_term = %(term)s,
  generation = %(generation)s, generation_id = %(generation_id)s,
  previous_generation_id = %(previous_generation_id)s, position = %(position)s, next_seq = %(next_seq)s,
  previous = %(previous)s, cursor = %(cursor)s, mac = %(mac)s
WHERE id = %(workspace)s
"""

ACTIVATE = """
UPDATE sealyard.workspace SET holder = '', lease_until = '-infinity'
WHERE id = %(workspace)s AND generation_id = %(attempt)s AND holder = %(holder)s AND lease_until = 'infinity'
"""

RETIRE = """
UPDATE sealyard.workspace SET term = term + 1, holder = %(holder)s, holder_url = '', lease_until = 'infinity'
WHERE id = %(workspace)s AND generation_id = %(generation_id)s
"""

DELETE_DOCUMENTS = "DELETE FROM sealyard.document WHERE workspace = %(workspace)s"

DELETE_EVENTS = "DELETE FROM sealyard.event WHERE workspace = %(workspace)s"

COPY_DOCUMENTS = "COPY sealyard.document (workspace, kind, id, body, position, mac) FROM STDIN"

COPY_EVENTS = "COPY sealyard.event (workspace, cursor, body, mac) FROM STDIN"

COPY_ENTRIES = "COPY sealyard.audit_entry (workspace, seq, line, position) FROM STDIN"

ADD_CHECKPOINTS = """
INSERT INTO sealyard.audit_checkpoint (workspace, size, note)
SELECT %(workspace)s, t.size, t.note FROM unnest(%(sizes)s::bigint[], %(notes)s::text[]) AS t(size, note)
ON CONFLICT DO NOTHING
"""

ADD_KEY = """
INSERT INTO sealyard.audit_key (workspace, public_key) VALUES (%(workspace)s, %(public_key)s) ON CONFLICT DO NOTHING
"""

READ_LINES = """
SELECT convert_to(line::text, 'UTF8') FROM sealyard.audit_entry WHERE workspace = %(workspace)s ORDER BY seq
"""

READ_DOCUMENTS = """
SELECT kind, id, convert_to(body::text, 'UTF8'), position, mac FROM sealyard.document
WHERE workspace = %(workspace)s ORDER BY kind, id
"""

READ_EVENTS = """
SELECT cursor, convert_to(body::text, 'UTF8'), mac FROM sealyard.event WHERE workspace = %(workspace)s ORDER BY cursor
"""

READ_HEAD = """
SELECT signed_term, generation, generation_id, previous_generation_id, position, next_seq, previous, cursor, mac
FROM sealyard.workspace WHERE id = %(workspace)s
"""
