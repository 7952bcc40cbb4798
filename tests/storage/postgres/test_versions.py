"""Test servers of different versions on one database: later schemas, and formats of documents."""

from __future__ import annotations

import pytest

from sealyard.model.errors import StorageError, WorkspaceError, WorkspaceLockedError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.postgres import opening
from sealyard.storage.postgres.connection import Database
from sealyard.storage.postgres.document_format import KNOWN_FORMAT, raise_format
from sealyard.storage.postgres.lease import MOVED_AWAY
from sealyard.storage.postgres.schema import REVISION, check_database, upgrade_schema
from tests.storage.postgres.conftest import OpenPgStore
from tests.support.postgres import OWNER, TestDatabase
from tests.support.store_helpers import read_documents

OLD_VERSION, NEW_VERSION = 1, 2
"""The newest formats that two versions know."""


@pytest.fixture
def owner(database: TestDatabase) -> Database:
    return Database(database.server.connection_string(database.name, OWNER))


class Versions:
    """Opens the store as engines of different versions do."""

    def __init__(self, open_store: OpenPgStore, patch: pytest.MonkeyPatch) -> None:
        self._open_store = open_store
        self._patch = patch

    def open(self, known_format: int) -> TinyDocumentStore:
        self._patch.setattr(opening, "KNOWN_FORMAT", known_format)
        return self._open_store()


@pytest.fixture
def versions(open_store: OpenPgStore, monkeypatch: pytest.MonkeyPatch) -> Versions:
    return Versions(open_store, monkeypatch)


def put(store: TinyDocumentStore, identity: str) -> None:
    store.submit(WriteBatch(puts=(("tasks", identity, {}),))).result()


def read_format(database: TestDatabase) -> int:
    return int(database.execute("SELECT format FROM sealyard.workspace")[0][0])


def test_engine_works_with_a_later_schema_that_supports_it(database: TestDatabase, open_store: OpenPgStore) -> None:
    database.execute("UPDATE sealyard.alembic_version SET version_num = '9999'")
    database.execute("ALTER TABLE sealyard.workspace ADD COLUMN later int NOT NULL DEFAULT 0")
    store = open_store()
    put(store, "a")
    store.close()
    assert read_documents(open_store()) == {"tasks": {"a": {}}}


def test_later_schema_is_not_upgraded_to_an_older_one(database: TestDatabase, owner: Database) -> None:
    database.execute("UPDATE sealyard.alembic_version SET version_num = '9999'")
    with pytest.raises(WorkspaceError, match="newer schema 9999"):
        upgrade_schema(owner)


def test_check_reports_which_versions_fit(database: TestDatabase, open_store: OpenPgStore) -> None:
    open_store().close()
    found = check_database(Database(database.connection_string))
    assert (found.revision, found.formats) == (REVISION, {"w1": KNOWN_FORMAT})
    assert found.oldest_revision <= REVISION


def test_versions_take_over_from_each_other_until_the_format_is_raised(
    database: TestDatabase, versions: Versions, owner: Database
) -> None:
    for identity, known_format in (("a", OLD_VERSION), ("b", NEW_VERSION), ("c", OLD_VERSION), ("d", NEW_VERSION)):
        store = versions.open(known_format)
        put(store, identity)
        store.close()
        assert read_format(database) == OLD_VERSION
    assert raise_format(owner, NEW_VERSION) == ["w1"]
    with pytest.raises(WorkspaceError, match="have format 2; this version supports formats up to 1"):
        versions.open(OLD_VERSION)
    put(versions.open(NEW_VERSION), "e")


def test_raising_the_format_changes_no_document(database: TestDatabase, versions: Versions, owner: Database) -> None:
    store = versions.open(OLD_VERSION)
    put(store, "a")
    store.close()
    documents = "SELECT xmin::text, document.* FROM sealyard.document"
    rows = database.execute(documents)
    raise_format(owner, NEW_VERSION)
    assert database.execute(documents) == rows
    assert read_documents(versions.open(NEW_VERSION)) == {"tasks": {"a": {}}}


def test_format_is_not_raised_while_an_older_engine_has_the_workspace_open(
    database: TestDatabase, versions: Versions, owner: Database
) -> None:
    store = versions.open(OLD_VERSION)
    with pytest.raises(WorkspaceLockedError, match=r"older version has the workspace w1 open.* formats up to 1"):
        raise_format(owner, NEW_VERSION)
    assert read_format(database) == OLD_VERSION
    put(store, "a")


def test_format_is_raised_while_an_engine_that_knows_it_has_the_workspace_open(
    database: TestDatabase, versions: Versions, owner: Database
) -> None:
    versions.open(OLD_VERSION).close()
    store = versions.open(NEW_VERSION)
    raise_format(owner, NEW_VERSION)
    put(store, "a")
    assert read_format(database) == NEW_VERSION


def test_format_is_raised_after_an_older_engine_has_crashed(
    database: TestDatabase, versions: Versions, owner: Database
) -> None:
    versions.open(OLD_VERSION)
    database.expire_lease()
    raise_format(owner, NEW_VERSION)
    with pytest.raises(WorkspaceError, match="format 2"):
        versions.open(OLD_VERSION)


def test_format_of_a_workspace_that_was_moved_away_is_raised(
    database: TestDatabase, versions: Versions, owner: Database
) -> None:
    """It is reserved for ever, but no engine has it open."""
    versions.open(OLD_VERSION).close()
    database.execute("UPDATE sealyard.workspace SET lease_until = 'infinity', holder = %s", (MOVED_AWAY,))
    raise_format(owner, NEW_VERSION)
    assert read_format(database) == NEW_VERSION


def test_new_workspace_has_the_newest_format(database: TestDatabase, versions: Versions, owner: Database) -> None:
    versions.open(NEW_VERSION)
    assert read_format(database) == NEW_VERSION
    assert raise_format(owner, NEW_VERSION) == []


def test_engine_cannot_raise_the_format(database: TestDatabase, versions: Versions) -> None:
    versions.open(OLD_VERSION).close()
    with pytest.raises(StorageError, match="permission denied"):
        raise_format(Database(database.connection_string), NEW_VERSION)
