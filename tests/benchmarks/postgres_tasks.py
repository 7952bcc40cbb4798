"""Insert many tasks into the database of a workspace, with valid MACs, without an engine."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg

from sealyard.engine.state.tables import TASKS
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.postgres.authentication import DocumentSet, Head, RowAuthenticator
from tests.support.postgres import TestDatabase

_READ_HEAD = f"SELECT signed_term, {', '.join(Head._fields[1:])} FROM sealyard.workspace"
_COPY = "COPY sealyard.document (workspace, kind, id, body, position, mac) FROM STDIN (FORMAT binary)"


def insert_tasks(database: TestDatabase, credentials: StoreCredentials, tasks: Iterable[tuple[str, bytes]]) -> None:
    """Insert tasks (id and document) as a commit of the last engine would have done. The workspace must be closed."""
    authenticator = RowAuthenticator(credentials)
    head = Head(*database.execute(_READ_HEAD)[0])
    head = head._replace(position=head.position + 1)
    documents = DocumentSet()
    for kind, identity, mac in database.execute("SELECT kind, id, mac FROM sealyard.document"):
        documents.add(kind, identity, authenticator.compute_addend(mac))
    with psycopg.connect(database.server.connection_string(database.name, "postgres")) as connection:
        with connection.cursor().copy(_COPY) as rows:
            rows.set_types(["text", "text", "text", "text", "int8", "bytea"])  # json has the format of text
            for identity, body in tasks:
                mac = authenticator.compute_document_mac(TASKS.name, identity, head.position, body)
                documents.add(TASKS.name, identity, authenticator.compute_addend(mac))
                rows.write_row((credentials.workspace_id, TASKS.name, identity, body.decode(), head.position, mac))
        connection.execute(
            "UPDATE sealyard.workspace SET position = %s, mac = %s",
            (head.position, authenticator.compute_head_mac(head, documents.sum)),
        )
