"""Test `sealyard workspace move` with a real key holder, and what users and clients notice of a move."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.support.cli_runner import CliWorkspace, sealyard, start_process, wait_until
from tests.support.postgres import TestDatabase
from tests.support.postgres_fixtures import database, postgres_server
from tests.support.served_workspace import ServedWorkspace

__all__ = ["database", "postgres_server"]


def move(workspace: CliWorkspace, *options: object) -> tuple[int, str, str]:
    return sealyard("workspace", "move", "--workspace", workspace.folder, *options)


def test_move_there_and_back(workspace: CliWorkspace, database: TestDatabase, tmp_path: Path) -> None:
    """Tasks, results, tokens of clients and the audit log are as before, and nothing needs to be set up again."""
    string = database.connection_string
    firmware = tmp_path / "next.bin"
    firmware.write_bytes(b"next")
    created = workspace.package(firmware, "--client-token", "build-7")
    tasks = workspace.value("auditor", "tasks")
    code, out, err = move(workspace, "--database", string, "--dry-run")
    assert (code, err) == (0, "")
    assert "from         folder\n" in out
    code, out, err = move(workspace, "--database", string)
    assert code == 2
    assert "Confirm it with --yes." in err
    assert database.execute("SELECT count(*) FROM sealyard.workspace") == [(0,)]
    for options in (("--database", string), ("--to-folder",)):
        code, out, err = move(workspace, *options, "--yes")
        assert (code, err) == (0, ""), err
        assert out.endswith("Moved.\n")
        assert workspace.value("auditor", "tasks") == tasks
        assert workspace.package(firmware, "--client-token", "build-7")["id"] == created["id"]
        result = workspace.run("developer", "download", workspace.done, "--out", tmp_path / options[0])
        assert result.code == 0, result.err
        report = workspace.value("auditor", "audit", "verify")
        assert report["size"] == report["checkpointedSize"]
        code, _, err = move(workspace, *options, "--yes")
        assert code == 1
        assert "already there" in err
    assert workspace.run("owner", "approve", workspace.waiting).code == 0
    assert (workspace.folder / "moved").is_dir()


def test_server_continues_after_a_move(workspace: CliWorkspace, database: TestDatabase) -> None:
    """With the tokens and download links that it issued before."""
    server = ServedWorkspace(workspace.folder)
    try:
        server.start()
        headers = {"Authorization": f"Bearer {server.token('USER:developer')}"}
        task_url = f"{server.url}/api/v1/task/{workspace.done}"
        task = httpx.get(task_url, headers=headers).raise_for_status().json()
        link = task["downloadUrl"]
        content = httpx.get(link).raise_for_status().content
        for options in (("--database", database.connection_string), ("--to-folder",)):
            server.stop()
            assert move(workspace, *options, "--yes")[0] == 0
            server.start()
            assert httpx.get(task_url, headers=headers).raise_for_status().json() == task
            assert httpx.get(link).raise_for_status().content == content
    finally:
        server.close()


def test_json_value(workspace: CliWorkspace, database: TestDatabase) -> None:
    result = sealyard(
        *("workspace", "move", "--workspace", workspace.folder),
        "--database",
        database.connection_string,
        "--yes",
        "--json",
    )
    assert (result.code, result.err) == (0, "")
    value = result.value
    assert (value["source"], value["target"]) == ("folder", database.connection_string)
    assert value["auditEntries"] > 10
    assert value["unsupported"] == []


@pytest.mark.parametrize("string", ["postgresql://engine:hunter2@localhost/yard", "no connection string"])
def test_unusable_connection_string_is_refused(workspace: CliWorkspace, string: str) -> None:
    code, out, err = move(workspace, "--database", string, "--yes")
    assert code == 2
    assert "hunter2" not in out + err
    assert "database" not in json.loads((workspace.folder / "workspace.json").read_text())


def test_database_without_tables_is_refused(workspace: CliWorkspace, database: TestDatabase) -> None:
    empty = database.server.create_database("template0")
    code, _, err = move(workspace, "--database", empty.connection_string, "--yes")
    assert code == 1
    assert "sealyard db upgrade" in err
    assert workspace.run("owner", "approve", workspace.waiting).code == 0


def test_retired_sources_are_refused(workspace: CliWorkspace, database: TestDatabase) -> None:
    """Neither the old files nor the old rows can be used again, even if workspace.json is put back."""
    metadata = workspace.folder / "workspace.json"
    in_folder = metadata.read_bytes()
    assert move(workspace, "--database", database.connection_string, "--yes")[0] == 0
    in_database = metadata.read_bytes()
    (retired,) = (workspace.folder / "moved").iterdir()
    for name in ("store", "audit"):
        (retired / name).rename(workspace.folder / name)
    metadata.write_bytes(in_folder)
    result = workspace.run("owner", "approve", workspace.waiting)
    assert result.code == 1
    assert "put back to an older state" in result.err
    for name in ("store", "audit"):
        (workspace.folder / name).rename(retired / name)
    metadata.write_bytes(in_database)
    assert move(workspace, "--to-folder", "--yes")[0] == 0
    metadata.write_bytes(in_database)
    result = workspace.run("owner", "approve", workspace.waiting)
    assert result.code == 6
    assert "was moved from the database to its folder" in result.err


def test_unfinished_move_is_reported_with_the_way_out(workspace: CliWorkspace, database: TestDatabase) -> None:
    """As after a kill between the switch and the activation of the copy."""
    string = database.connection_string
    assert move(workspace, "--database", string, "--yes")[0] == 0
    database.execute("UPDATE sealyard.workspace SET lease_until = 'infinity', holder = 'an unfinished move'")
    result = workspace.run("owner", "approve", workspace.waiting)
    assert result.code == 6
    assert "unfinished" in result.err
    assert "sealyard workspace move" in result.err


def test_running_process_is_not_disturbed(workspace: CliWorkspace, database: TestDatabase) -> None:
    with start_process(*workspace.as_user("admin", "run")) as process:
        wait_until((workspace.folder / "socket").exists)
        code, _, err = move(workspace, "--database", database.connection_string, "--yes")
        assert code == 6
        assert f"process {process.pid}" in err
        assert workspace.run("owner", "approve", workspace.waiting).code == 0
