"""Test `sealyard recover` with older and copied workspace folders."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from sealyard.model.tasks import Verdict
from sealyard.model.workspace import WorkspacePaths
from tests.support.cli_runner import CliWorkspace, run_engine, sealyard


@pytest.fixture
def anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the anchor, which the workspace gets at its next start."""
    folder = tmp_path / "anchors"
    monkeypatch.setenv("SEALYARD_ANCHORS", str(folder))
    return folder


@pytest.fixture(scope="module")
def older_template(workspace_template: CliWorkspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of a workspace and its anchor.

    The workspace was put back to the state before a rejection.
    """
    root = tmp_path_factory.mktemp("older")
    workspace, current, anchors = root / "workspace", root / "current", root / "anchors"
    shutil.copytree(workspace_template.folder, workspace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALYARD_ANCHORS", str(anchors))
        with run_engine(workspace, work=False):
            pass
        shutil.copytree(workspace, current)
        with run_engine(current, work=False) as engine:
            asyncio.run(engine.client("USER:owner").decide(workspace_template.waiting, Verdict.REJECTED, "wrong"))
    assert [path.is_file() for path in anchors.iterdir()] == [True]
    return root


@pytest.fixture
def older_workspace(
    older_template: Path, workspace_template: CliWorkspace, anchors: Path, tmp_path: Path
) -> CliWorkspace:
    """A workspace whose folder was put back to the state before a rejection."""
    folder = tmp_path / "workspace"
    shutil.copytree(older_template / "workspace", folder)
    shutil.copytree(older_template / "anchors", anchors)
    return CliWorkspace(folder, done=workspace_template.done, waiting=workspace_template.waiting)


def recover(workspace: CliWorkspace, *options: str) -> tuple[int, str, str]:
    return sealyard("recover", "--workspace", workspace.folder, *options)


def test_older_folder_is_refused_with_the_way_out(older_workspace: CliWorkspace) -> None:
    result = older_workspace.run("owner", "approve", older_workspace.waiting)
    assert result.code == 1
    assert "An older copy of the workspace was put back" in result.err
    assert "sealyard recover" in result.err
    assert older_workspace.run("owner", "show", older_workspace.waiting).code == 0


def test_recovery_is_explained_before_it_is_confirmed(older_workspace: CliWorkspace) -> None:
    content = WorkspacePaths(older_workspace.folder).worker_state.read_bytes()
    code, out, err = recover(older_workspace)
    assert code == 2
    assert "freshness anchor" in out
    assert "The folder is an older copy" in err
    assert "1 unfinished task" in err
    assert "Confirm it with --yes." in err
    assert WorkspacePaths(older_workspace.folder).worker_state.read_bytes() == content


def test_confirmed_recovery_cancels_tasks_and_is_audited(older_workspace: CliWorkspace) -> None:
    code, out, err = recover(older_workspace, "--yes")
    assert (code, err) == (0, "")
    assert "Recovered. 1 unfinished task cancelled." in out
    task = older_workspace.value("owner", "show", older_workspace.waiting)
    assert task["status"] == "CANCELLED"
    assert "recovered from another copy" in task["reason"]
    assert older_workspace.run("admin", "audit", "verify").code == 0
    entries = older_workspace.value("admin", "audit", "list", "--type", "WORKSPACE", "--change", "UPDATED")["entries"]
    assert [entry for entry in entries if "workspace recovered (ahead)" in entry["message"]]
    assert recover(older_workspace, "--yes")[0] == 1


def test_json_value_contains_positions(older_workspace: CliWorkspace) -> None:
    code, out, _ = recover(older_workspace, "--json")
    assert code == 2
    assert '"confirmation-needed"' in out
    result = sealyard("recover", "--workspace", older_workspace.folder, "--yes", "--json")
    assert result.code == 0
    assert result.value["workerState"]["problem"] == "ahead"
    assert result.value["workerState"]["anchor"]["records"] > result.value["workerState"]["state"]["records"]
    assert result.value["unfinishedTasks"] == 1


def test_copied_folder_requires_adoption(workspace: CliWorkspace, anchors: Path) -> None:
    assert workspace.run("admin", "subject", "add", "USER:first").code == 0
    next(anchors.iterdir()).unlink()
    result = workspace.run("admin", "subject", "add", "USER:second")
    assert result.code == 1
    assert "sealyard recover --adopt" in result.err
    assert recover(workspace, "--yes")[0] == 1
    assert recover(workspace, "--adopt")[0] == 2
    assert recover(workspace, "--adopt", "--yes")[0] == 0
    assert workspace.run("admin", "subject", "add", "USER:second").code == 0


@pytest.mark.usefixtures("anchors")
def test_nothing_to_recover(workspace: CliWorkspace) -> None:
    code, _, err = recover(workspace, "--yes")
    assert code == 1
    assert "nothing to recover" in err


@pytest.mark.usefixtures("anchors")
def test_recovery_requires_the_passphrase(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_PASSPHRASE", "wrong")
    assert recover(workspace, "--yes")[0] == 7


def test_invalid_anchor_folder_is_refused(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_ANCHORS", str(workspace.folder / "anchors"))
    result = workspace.run("admin", "subject", "add", "USER:first")
    assert result.code == 2
    assert "inside the workspace" in result.err
