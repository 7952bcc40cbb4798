"""The SQL statements of both ends of a bus database. Times are those of its clock."""

from __future__ import annotations

# ---- both ends

NOTIFY = "SELECT pg_notify(%(channel)s, '')"
"""In a statement of its own after the commit, because NOTIFY serializes the commits of all sessions."""

# ---- the engine

BEGIN_TERM = """
INSERT INTO bus.engine AS e (workspace, term, holder) VALUES (%(workspace)s, 1, %(holder)s)
ON CONFLICT (workspace) DO UPDATE SET term = e.term + 1, holder = excluded.holder, at = clock_timestamp()
RETURNING term
"""

HOLD_TERM = "SELECT term FROM bus.engine WHERE workspace = %(workspace)s FOR SHARE"
"""Begins each transaction that changes something, so that no later engine can begin its term before the commit."""

READ_REPORTS = """
SELECT n, host, body FROM bus.report WHERE workspace = %(workspace)s AND NOT n = ANY(%(received)s::bigint[])
ORDER BY n LIMIT %(limit)s
"""
"""Reports that commit out of order are read as well: what was read already is named, not counted."""

READ_OLD_REPORTS = """
SELECT n FROM bus.report
WHERE workspace = %(workspace)s AND at < clock_timestamp() - make_interval(secs => %(seconds)s)
"""

DELETE_REPORTS = "DELETE FROM bus.report WHERE workspace = %(workspace)s AND n = ANY(%(numbers)s::bigint[])"

READ_REPORT_LAG = """
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(at)), 0)::float8
FROM bus.report WHERE workspace = %(workspace)s
"""

INSERT_INSTRUCTION = """
INSERT INTO bus.instruction (id, workspace, host, task, body, signature)
VALUES (%(id)s, %(workspace)s, %(host)s, %(task)s, %(body)b, %(signature)b) ON CONFLICT DO NOTHING
"""
"""``id`` is random: the statement is repeated if the connection is lost before its commit is confirmed."""

DELETE_INSTRUCTIONS = "DELETE FROM bus.instruction WHERE workspace = %(workspace)s AND task = %(task)s"

DELETE_OLD_INSTRUCTIONS = """
DELETE FROM bus.instruction i WHERE i.workspace = %(workspace)s
AND (
  i.host <> '' AND NOT EXISTS (SELECT FROM bus.host h WHERE h.name = i.host)
  OR (i.host = '' OR i.task = '') AND i.at < clock_timestamp() - make_interval(secs => %(seconds)s)
)
"""
"""Those for agents that are gone, and those that the end of a job does not delete: key commands and kept ones."""

READ_INSTRUCTED_TASKS = "SELECT DISTINCT task, host FROM bus.instruction WHERE workspace = %(workspace)s AND host <> ''"

READ_PROGRESS = """
SELECT task, fencing_token, done, total, extract(epoch FROM at)::float8 FROM bus.progress
WHERE workspace = %(workspace)s
"""

DELETE_PROGRESS = "DELETE FROM bus.progress WHERE workspace = %(workspace)s AND task = %(task)s"

READ_HOSTS = """
SELECT name, hostname, version, slots, running_jobs, started_at,
  greatest(extract(epoch FROM clock_timestamp() - seen_at), 0)::float8, draining, refused::text
FROM bus.host WHERE workspace = %(workspace)s ORDER BY hostname, started_at
"""

DELETE_OLD_HOSTS = """
DELETE FROM bus.host WHERE workspace = %(workspace)s
AND seen_at < clock_timestamp() - make_interval(secs => %(seconds)s)
"""

DELETE_QUEUED = "DELETE FROM public.procrastinate_jobs WHERE queueing_lock = %(lock)s"
"""Also deletes a row that an agent has fetched: an agent that has lost its host never finishes it."""

DELETE_ENDED_JOBS = """
DELETE FROM public.procrastinate_jobs WHERE queue_name = ANY(%(queues)s) AND status NOT IN ('todo', 'doing')
"""

COUNT_QUEUED = """
SELECT count(*) FROM public.procrastinate_jobs WHERE queue_name = ANY(%(queues)s) AND status = 'todo'
"""

# ---- the agent

REGISTER_HOST = """
INSERT INTO bus.host (name, workspace, hostname, version, slots, running_jobs, draining, refused)
VALUES (%(name)s, %(workspace)s, %(hostname)s, %(version)s, %(slots)s, %(running_jobs)s, %(draining)s, %(refused)s)
ON CONFLICT (name) DO NOTHING
"""

SEND_HOST_HEARTBEAT = """
UPDATE bus.host SET seen_at = clock_timestamp(), running_jobs = %(running_jobs)s, draining = %(draining)s,
  refused = %(refused)s
WHERE name = %(name)s RETURNING name
"""
"""Returns no row if the host must register again."""

READ_ZONE = "SELECT name FROM bus.zone"

INSERT_REPORT = "INSERT INTO bus.report (workspace, host, body) VALUES (%(workspace)s, %(host)s, %(body)b)"

READ_INSTRUCTIONS = """
SELECT n, body, signature FROM bus.instruction
WHERE workspace = %(workspace)s AND host = %(host)s AND NOT n = ANY(%(processed)s::bigint[])
ORDER BY n
"""

LIST_INSTRUCTIONS = "SELECT n FROM bus.instruction WHERE workspace = %(workspace)s AND host = %(host)s"

READ_COMMAND = """
SELECT body, signature FROM bus.instruction WHERE workspace = %(workspace)s AND host = '' AND task = %(task)s
"""
"""``task``: see :func:`sealyard.jobs.zone.queue.command_task_of`. No row if the engine no longer waits for it."""

SAVE_PROGRESS = """
INSERT INTO bus.progress AS p (workspace, task, fencing_token, done, total)
VALUES (%(workspace)s, %(task)s, %(fencing_token)s, %(done)s, %(total)s)
ON CONFLICT (workspace, task, fencing_token)
DO UPDATE SET done = excluded.done, total = excluded.total, at = clock_timestamp()
"""

RECORD_INTENT = """
INSERT INTO bus.intent (workspace, task, sha256, fencing_token, host)
VALUES (%(workspace)s, %(task)s, %(sha256)s, %(fencing_token)s, %(host)s) ON CONFLICT DO NOTHING
"""

READ_INTENT = "SELECT sha256 FROM bus.intent WHERE workspace = %(workspace)s AND task = %(task)s"
"""Executed after :data:`RECORD_INTENT`. Another SHA-256 than the own one stops the job."""

INSERT_KEY_FILE = """
INSERT INTO bus.key_file (workspace, path, content, host) VALUES (%(workspace)s, %(path)s, %(content)b, %(host)s)
RETURNING n
"""

LIST_KEY_FILES = "SELECT path, max(n) FROM bus.key_file WHERE workspace = %(workspace)s GROUP BY path"

READ_KEY_FILES = """
SELECT n, path, content FROM bus.key_file WHERE workspace = %(workspace)s AND n = ANY(%(numbers)s::bigint[])
"""
