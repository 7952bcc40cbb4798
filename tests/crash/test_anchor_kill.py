"""Test that a kill at any step leaves a worker state and an anchor that fit, or that can be recovered again."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.model.errors import AnchorError
from sealyard.model.requests import SigningRequest, TaskFilter
from sealyard.model.tasks import TaskStatus
from sealyard.model.workspace import WorkspacePaths
from tests.crash.anchor_process import INTENTS, open_access, recover
from tests.support.worker_state import read_intents, read_records
from tests.support.workspace_files import ADMIN, DEVELOPER, DEVICE, create_workspace_with_device, open_engine

MAX_STEPS = 60
pytestmark = pytest.mark.crash


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a waiting task, its anchor, and an older worker state."""
    root = tmp_path_factory.mktemp("anchored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALYARD_ANCHORS", str(root / "anchors"))
        asyncio.run(_create(WorkspacePaths(root / "workspace"), root / "older"))
    return root


async def _create(paths: WorkspacePaths, older: Path) -> None:
    await create_workspace_with_device(paths.root)
    async with open_engine(paths.root) as engine:
        request = SigningRequest(config=DEVICE, message=b"message", file_name="message", name="message")
        await engine.client(DEVELOPER).create_signing(request)
    shutil.copytree(paths.root, older)
    async with open_engine(paths.root) as engine:
        await engine.client(ADMIN).add_subject("USER:last")


@pytest.fixture
def root(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEALYARD_ANCHORS", str(tmp_path / "anchors"))
    shutil.copytree(template / "anchors", tmp_path / "anchors")
    return tmp_path


def kill_at_each_step(root: Path, source: Path, action: str) -> Iterator[tuple[WorkspacePaths, str]]:
    """Run the process in a copy of ``source`` once for each step; yield the workspace and what the process printed."""
    anchors = root / "kept anchors"
    shutil.copytree(root / "anchors", anchors)
    for step in range(1, MAX_STEPS):
        paths = WorkspacePaths(root / f"workspace {step}")
        shutil.copytree(source, paths.root)
        shutil.rmtree(root / "anchors")
        shutil.copytree(anchors, root / "anchors")
        arguments = [sys.executable, "-m", "tests.crash.anchor_process", str(paths.root), action, str(step)]
        process = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
        assert process.returncode in (0, -signal.SIGKILL)
        yield paths, process.stdout
        if process.returncode == 0:
            assert step > 5
            return
    raise AssertionError("the process needs more steps")


def test_killed_signing_keeps_state_and_anchor_usable(root: Path, template: Path) -> None:
    output = ""
    for paths, output in kill_at_each_step(root, template / "workspace", "sign"):
        open_access(paths).open().close()
        recorded = {intent["task"] for intent in read_intents(paths.root)}
        assert set(output.split()) <= recorded
    assert len(output.split()) == INTENTS


def test_killed_recovery_is_completed_or_repeated(root: Path, template: Path) -> None:
    for paths, _ in kill_at_each_step(root, template / "older", "recover"):
        intents = read_intents(paths.root)
        access = open_access(paths)
        try:
            access.open().close()
        except AnchorError:
            recover(access, paths)
        assert read_intents(paths.root)[: len(intents)] == intents
        assert any(each.get("recovery") for each in read_records(paths.root))
        asyncio.run(require_completed(paths.root))


async def require_completed(folder: Path) -> None:
    async with open_engine(folder, work=False) as engine:
        page = await engine.client(ADMIN).tasks(TaskFilter())
        assert [(task.status, task.reason_code) for task in page.tasks] == [
            (TaskStatus.CANCELLED, "workspace-recovered")
        ]
        report = await engine.client(ADMIN).verify_audit()
        assert report.size > 0
