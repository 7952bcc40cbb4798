"""Test `sealyard workspace move` of inputs and results with a real key holder, by the commands of the documentation."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest

from tests.support.cli_runner import CliWorkspace, sealyard

if os.environ.get("SEALYARD_REQUIRE_INTEROP") != "1":
    pytest.importorskip("boto3")

from sealyard.storage import s3
from tests.support.object_store import TestBucket
from tests.support.object_store_fixtures import bucket, ministack
from tests.support.postgres import TestDatabase
from tests.support.postgres_fixtures import database, postgres_server

__all__ = ["bucket", "database", "ministack", "postgres_server"]

DOCUMENTED_URL = "s3://sealyard/yard?region=eu-central-1"


def move(workspace: CliWorkspace, *options: object) -> tuple[int, str, str]:
    return sealyard("workspace", "move", "--workspace", workspace.folder, *options)


def read_commands() -> list[list[str]]:
    """Return the arguments of the documented commands."""
    section = (Path(s3.__file__).with_name("README.md")).read_text().partition("## Move inputs and results\n")[2]
    lines = section.partition("\n## ")[0].splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("    sealyard ")]


def test_documented_commands_move_there_and_back(
    workspace: CliWorkspace, bucket: TestBucket, database: TestDatabase, tmp_path: Path
) -> None:
    """Afterwards, old results can be downloaded, tasks are executed, and the audit log is complete."""
    values = {
        "/srv/yard": str(workspace.folder),
        DOCUMENTED_URL: bucket.url,
        "service=sealyard": database.connection_string,
    }
    commands = read_commands()
    assert len(commands) == 5
    places = []
    for number, command in enumerate(commands):
        code, out, err = sealyard(*(values.get(argument, argument) for argument in command))
        assert (code, err) == (0, ""), err
        metadata = json.loads((workspace.folder / "workspace.json").read_text())
        places.append((metadata.get("database"), metadata.get("artifacts")))
        if number == 0:
            assert "inputs          1\nresults         1\n" in out
            continue
        assert out.endswith("Moved.\n")
        if number not in (1, len(commands) - 1):
            continue
        result = workspace.run("developer", "download", workspace.done, "--out", tmp_path / str(number))
        assert result.code == 0, result.err
        report = workspace.value("auditor", "audit", "verify")
        assert report["size"] == report["checkpointedSize"]
    moved = (database.connection_string, bucket.url)
    assert places == [(None, None), (None, bucket.url), (None, None), moved, (None, None)]
    assert workspace.run("owner", "approve", workspace.waiting).code == 0
    assert workspace.value("developer", "show", workspace.waiting)["status"] == "DONE"


def test_task_runs_after_move_to_bucket(workspace: CliWorkspace, bucket: TestBucket) -> None:
    code, _, err = move(workspace, "--artifacts", bucket.url)
    assert code == 2
    assert "Inputs and results are moved; the old ones are kept" in err
    assert bucket.keys() == []
    result = sealyard(
        "workspace", "move", "--workspace", workspace.folder, "--artifacts", bucket.url, "--yes", "--json"
    )
    assert result.code == 0
    artifacts = result.value["artifacts"]
    assert (artifacts["inputs"], artifacts["results"], artifacts["problems"]) == (1, 1, [])
    assert workspace.run("owner", "approve", workspace.waiting).code == 0
    assert workspace.value("developer", "show", workspace.waiting)["status"] == "DONE"
    keys = bucket.keys()
    assert len([key for key in keys if "/results/" in key]) == 2


def test_damaged_result_is_reported_with_its_task(workspace: CliWorkspace, bucket: TestBucket) -> None:
    result_file = workspace.folder / "artifacts" / "results" / workspace.done
    result_file.write_bytes(result_file.read_bytes().swapcase())
    code, out, err = move(workspace, "--artifacts", bucket.url, "--dry-run")
    assert code == 1
    assert f"cannot move     result of task {workspace.done} is damaged\n" in out
    for options in (("--yes",), ()):
        code, out, err = move(workspace, "--artifacts", bucket.url, *options)
        assert code == 1
        assert f"result of task {workspace.done} is damaged" in err
        assert "--skip-damaged" in err
    assert "artifacts" not in json.loads((workspace.folder / "workspace.json").read_text())
    code, out, _ = move(workspace, "--artifacts", bucket.url, "--skip-damaged", "--yes")
    assert code == 0
    assert out.endswith("Moved.\n")
    code, _, err = move(workspace, "--artifacts", bucket.url, "--yes")
    assert code == 1
    assert "Inputs and results of the workspace are already there" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "The target is missing"),
        (("--artifacts", "s3://key:hunter2@bucket"), "contains credentials"),
        (("--artifacts", "ftp://bucket"), "The URL of the artifacts is invalid"),
    ],
)
def test_unusable_target_is_refused(workspace: CliWorkspace, options: tuple[str, ...], message: str) -> None:
    code, out, err = move(workspace, *options, "--yes")
    assert code == 2
    assert message in err
    assert "hunter2" not in out + err
