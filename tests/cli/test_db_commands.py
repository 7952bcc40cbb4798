"""Test `sealyard db`, and a workspace whose store is in PostgreSQL."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sealyard.cli.output import UNVERIFIED_NOTE
from sealyard.storage.postgres.document_format import KNOWN_FORMAT
from sealyard.storage.postgres.schema import REVISION
from tests.support.cli_runner import sealyard, value_of
from tests.support.postgres import AUDITOR, OWNER, TestDatabase
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
    """The folder has keys and settings only."""
    folder = tmp_path / "yard"
    arguments = ("--workspace", folder, "init", "--admin", "USER:admin", "--key-store", "passphrase")
    created = value_of(*arguments, "--database", database.connection_string)
    assert created["database"] == database.connection_string
    value_of("--workspace", folder, "subject", "add", "USER:dev")
    entries = value_of("--workspace", folder, "audit", "list")["entries"]
    assert entries[0]["resource"] == "SUBJECT:USER:dev"
    report = value_of("--workspace", folder, "audit", "verify")
    assert report["size"] == report["checkpointedSize"] == len(entries)
    assert report["storeVerified"] is False
    assert [path for name in ("store", "audit") for path in (folder / name).iterdir()] == []


def test_workspace_in_a_database_is_read_without_key_store(
    database: TestDatabase, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = ("--workspace", tmp_path / "yard")
    arguments = ("init", "--admin", "USER:admin", "--key-store", "passphrase")
    value_of(*workspace, *arguments, "--database", database.connection_string)
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    lease = database.execute("SELECT term, position FROM sealyard.workspace")
    for command in (("subject", "list"), ("acl", "list"), ("audit", "verify"), ("tasks",)):
        result = sealyard(*workspace, *command)
        assert (result.code, result.err) == (0, f"{UNVERIFIED_NOTE}\n")
    assert database.execute("SELECT term, position FROM sealyard.workspace") == lease


def test_workspace_file_with_a_role_that_may_only_read_is_enough_for_reports(
    database: TestDatabase, tmp_path: Path, home: Path
) -> None:
    workspace = ("--workspace", tmp_path / "yard")
    arguments = ("init", "--admin", "USER:admin", "--key-store", "passphrase")
    value_of(*workspace, *arguments, "--database", database.connection_string)
    file = json.loads((tmp_path / "yard" / "workspace.json").read_text())
    file["database"] = database.server.connection_string(database.name, AUDITOR)
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "workspace.json").write_text(json.dumps(file))
    value_of("profile", "add", "report", "--workspace", tmp_path / "report", "--identity", "USER:admin")
    for command in (("tasks",), ("audit", "verify"), ("acl", "list")):
        assert sealyard("--workspace", tmp_path / "report", *command).code == 0


def test_audit_log_is_read_from_the_database_alone(database: TestDatabase, tmp_path: Path, home: Path) -> None:
    """With a role that may only read, and without the folder of the workspace."""
    init = ("init", "--admin", "USER:admin", "--key-store", "passphrase", "--database", database.connection_string)
    identity = value_of("--workspace", tmp_path / "yard", *init)["id"]
    options = ("--database", database.server.connection_string(database.name, AUDITOR))
    key, proof, export = (tmp_path / name for name in ("audit-key.pem", "proof", "log.jsonl"))
    report = value_of("audit", "verify", *options)
    assert report["origin"] == f"sealyard/{identity}"
    assert report["size"] == report["checkpointedSize"]
    assert value_of("audit", "verify", *options, "--id", identity) == report
    assert len(value_of("audit", "list", *options, "--limit", 2)["entries"]) == 2
    assert value_of("audit", "show", 0, *options)["seq"] == 0
    assert value_of("audit", "key", *options, "--out", key)["fingerprint"] == report["keyFingerprint"]
    value_of("audit", "prove", 1, *options, "--out", proof)
    for key_options in (("--key", key), options):
        assert value_of("audit", "verify", "--proof", proof, *key_options)["entry"]["seq"] == 1
    value_of("audit", "export", "--format", "jsonl", *options, "--out", export)
    assert len(export.read_text().splitlines()) == report["size"]
    assert sealyard("audit", "verify", *options, "--id", "other").code == 4
    assert sealyard("audit", "verify", "--id", identity).code == 2


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
