"""Test that a kill at any step leaves a worker state and an anchor that fit, or that can be recovered again."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.model.errors import AnchorError
from sealyard.model.requests import SigningRequest, TaskFilter
from sealyard.model.tasks import TaskStatus
from sealyard.model.workspace import WorkspacePaths
from tests.crash.anchor_process import INTENTS, MAX_STEPS, lower_cost, open_access, recover
from tests.support.worker_state import read_intents, read_records
from tests.support.workspace_files import ADMIN, DEVELOPER, DEVICE, create_workspace_with_device, open_engine

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
    lower_cost(paths)
    async with open_engine(paths.root) as engine:
        request = SigningRequest(config=DEVICE, message=b"message", file_name="message", name="message")
        await engine.client(DEVELOPER).create_signing(request)
    shutil.copytree(paths.root, older)
    async with open_engine(paths.root) as engine:
        await engine.client(ADMIN).add_subject("USER:last")


def kill_at_each_step(
    folder: Path, source: Path, anchors: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[WorkspacePaths, set[str]]]:
    """Kill an operation before each of its steps. Yield each workspace, and the tasks of acknowledged intents."""
    shutil.copytree(source, folder / "template")
    shutil.copytree(anchors, folder / "anchors")
    arguments = [sys.executable, "-m", "tests.crash.anchor_process", str(folder), operation]
    output = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, timeout=300, check=True).stdout
    tasks = [line.split() for line in output.splitlines()]
    steps = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    assert 5 < len(steps) < MAX_STEPS - 1
    for step in steps:
        monkeypatch.setenv("SEALYARD_ANCHORS", str(folder / str(step) / "anchors"))
        yield WorkspacePaths(folder / str(step) / "workspace"), {task for number, task in tasks if int(number) == step}


def test_killed_signing_keeps_state_and_anchor_usable(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acknowledged: set[str] = set()
    source, anchors = template / "workspace", template / "anchors"
    for paths, acknowledged in kill_at_each_step(tmp_path, source, anchors, "sign", monkeypatch):
        open_access(paths).open().close()
        assert acknowledged <= {intent["task"] for intent in read_intents(paths.root)}
    assert len(acknowledged) == INTENTS


def test_killed_recovery_is_completed_or_repeated(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repetitions = 0
    source, anchors = template / "older", template / "anchors"
    for paths, _ in kill_at_each_step(tmp_path, source, anchors, "recover", monkeypatch):
        intents = read_intents(paths.root)
        access = open_access(paths)
        try:
            access.open().close()
            asyncio.run(require_completed(paths.root))
        except AnchorError:
            repetitions += 1
            recover(access, paths)
            access.open().close()
        assert read_intents(paths.root)[: len(intents)] == intents
        assert any(each.get("recovery") for each in read_records(paths.root))
    assert repetitions > 0


async def require_completed(folder: Path) -> None:
    async with open_engine(folder, work=False) as engine:
        page = await engine.client(ADMIN).tasks(TaskFilter())
        assert [(task.status, task.reason_code) for task in page.tasks] == [
            (TaskStatus.CANCELLED, "workspace-recovered")
        ]
        report = await engine.client(ADMIN).verify_audit()
        assert report.size > 0
