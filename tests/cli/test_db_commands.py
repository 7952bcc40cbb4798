"""Test `sealyard db`, and a workspace whose store is in PostgreSQL."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sealyard.storage.postgres.document_format import KNOWN_FORMAT
from sealyard.storage.postgres.schema import REVISION
from tests.support.cli_runner import sealyard, value_of
from tests.support.postgres import OWNER, TestDatabase
from tests.support.postgres_fixtures import database, postgres_server

__all__ = ["database", "postgres_server"]


def test_upgrade_creates_the_tables_and_can_be_repeated(database: TestDatabase) -> None:
    empty = database.server.create_database("template0")
    owner = database.server.connection_string(empty.name, OWNER)
    unusable = sealyard("db", "check", empty.connection_string)
    assert unusable.code == 1
    assert "sealyard db upgrade" in unusable.err
    for _ in range(2):
        assert value_of("db", "upgrade", owner) == {"revision": REVISION}
    assert sealyard("db", "check", empty.connection_string).out.startswith(f"The database has revision {REVISION}")


def test_show_sql_needs_no_database() -> None:
    result = sealyard("db", "show-sql")
    assert result.code == 0
    assert re.search(r"CREATE TABLE sealyard\.document", result.out)


def test_workspace_in_a_database(database: TestDatabase, tmp_path: Path, home: Path) -> None:
    """The folder has keys and settings only; commands that read open the workspace as well."""
    folder = tmp_path / "yard"
    arguments = ("--workspace", folder, "init", "--admin", "USER:admin", "--key-store", "passphrase")
    created = value_of(*arguments, "--database", database.connection_string)
    assert created["database"] == database.connection_string
    value_of("--workspace", folder, "subject", "add", "USER:dev")
    entries = value_of("--workspace", folder, "audit", "list")["entries"]
    assert entries[0]["resource"] == "SUBJECT:USER:dev"
    report = value_of("--workspace", folder, "audit", "verify")
    assert report["size"] == report["checkpointedSize"] == len(entries)
    assert "storeVerified" not in json.dumps(report)
    assert [path for name in ("store", "audit") for path in (folder / name).iterdir()] == []


@pytest.mark.parametrize("name", ["init", "upgrade"])
def test_password_in_a_connection_string_is_refused_and_not_repeated(tmp_path: Path, name: str) -> None:
    secret = "postgresql://engine:hunter2@localhost/yard"
    arguments = ("init", "--database", secret) if name == "init" else ("db", "upgrade", secret)
    result = sealyard("--workspace", tmp_path / "yard", *arguments)
    assert result.code == 2
    assert "PGPASSFILE" in result.err
    assert "hunter2" not in result.out + result.err
    assert not (tmp_path / "yard").exists()


def test_raise_format_and_check_show_the_versions_that_fit(database: TestDatabase, tmp_path: Path, home: Path) -> None:
    arguments = ("--workspace", tmp_path / "yard", "init", "--admin", "USER:admin", "--key-store", "passphrase")
    identity = value_of(*arguments, "--database", database.connection_string)["id"]
    database.execute("UPDATE sealyard.workspace SET format = 0")
    assert value_of("db", "check", database.connection_string)["formats"] == {identity: 0}
    owner = database.server.connection_string(database.name, OWNER)
    assert value_of("db", "raise-format", owner) == {"format": KNOWN_FORMAT, "raised": [identity]}
    assert sealyard("db", "raise-format", owner).out == f"Raised the format of 0 workspaces to {KNOWN_FORMAT}.\n"
    found = value_of("db", "check", database.connection_string)
    assert (found["revision"], found["formats"]) == (REVISION, {identity: KNOWN_FORMAT})
