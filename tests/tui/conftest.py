"""Fixtures of all tests of the application: its workspaces, isolated folders and short delays."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import textual.app
import textual.pilot

from sealyard.model.tasks import Task
from sealyard_tui.dialogs.reason import ReasonDialog
from tests.support.failing_disk import FailingDisk
from tests.tui.approvals_helpers import add_pending_tasks, expire_late_task
from tests.tui.pilot_helpers import IDLE_WINDOW, record_thread_work, wait_idle
from tests.tui.workspace import NOW, FakeIds, TuiWorkspace, WorkspaceTemplate, make_repeatable

# Each application creates thousands of objects; with Python's default thresholds, garbage collection takes a fifth of
# the time of these tests.
gc.set_threshold(100_000, 20, 20)

DELAYS = (
    "screens.approvals.screen.DETAIL_DELAY",
    "screens.approvals.task_list.RELOAD_INTERVAL",
    "screens.audit.screen.DETAIL_DELAY",
    "screens.audit.entry_loader.READ_INTERVAL",
    "screens.dashboard.detail_loader.DETAIL_DELAY",
    "screens.dashboard.task_list.RELOAD_INTERVAL",
    "screens.devices.screen.DETAIL_DELAY",
    "session.notifier.BATCH_SECONDS",
    "session.session.BATCH_SECONDS",
    "session.session.RETRY_INTERVAL",
    "session.watch_folder.BATCH_SECONDS",
    "widgets.filter_bar.DEBOUNCE_SECONDS",
)
"""Delays that wait for the user's next key, or collect changes that come together."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def isolated_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the tests away from the settings and files of the user who runs them."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("NO_COLOR", "TEXTUAL_THEME", "TEXTUAL_ANIMATIONS", "VISUAL", "EDITOR", "PAGER", "LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")


@pytest.fixture(autouse=True)
def no_drafts() -> None:
    """Delete the drafts of earlier tests: dialogs keep them as long as the process runs."""
    ReasonDialog.drafts.clear()


@pytest.fixture(autouse=True)
def exact_idle_detection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pilots wait for pending work instead of a period of time."""
    monkeypatch.setattr(textual.app, "wait_for_idle", wait_idle)
    monkeypatch.setattr(textual.pilot, "wait_for_idle", wait_idle)
    record_thread_work(monkeypatch)


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the delays so short that a pilot waits for their end."""
    for name in DELAYS:
        monkeypatch.setattr(f"sealyard_tui.{name}", IDLE_WINDOW / 2)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> WorkspaceTemplate:
    template = WorkspaceTemplate(tmp_path_factory.mktemp("template"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(template.build(monkeypatch))
    return template


@pytest.fixture
async def workspace(workspace_folder: Path, template: WorkspaceTemplate, ids: FakeIds) -> AsyncIterator[TuiWorkspace]:
    """A workspace with a task in each state that users meet."""
    async with open_workspace(template.copy("usual", workspace_folder / "usual", ids)) as workspace:
        await workspace.start_running_task()
        yield workspace


@pytest.fixture
async def empty_workspace(
    workspace_folder: Path, template: WorkspaceTemplate, ids: FakeIds
) -> AsyncIterator[TuiWorkspace]:
    """A workspace with users and device configurations, but without tasks."""
    async with open_workspace(template.copy("empty", workspace_folder / "empty", ids)) as workspace:
        yield workspace


@pytest.fixture
async def pending_workspace(
    workspace_folder: Path, template: WorkspaceTemplate, ids: FakeIds, disk: FailingDisk
) -> AsyncIterator[TuiWorkspace]:
    """A workspace with tasks that wait for approval; see :func:`add_pending_tasks` and :func:`expire_late_task`."""
    await template.extend("pending", "empty", add_pending_tasks, NOW - timedelta(days=7))
    copy = template.copy("pending", workspace_folder / "pending", ids, NOW - timedelta(minutes=2))
    async with open_workspace(copy) as workspace:
        await expire_late_task(workspace, disk)
        yield workspace


@pytest.fixture
def workspace_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for workspaces, outside ``tmp_path``, whose content some tests check."""
    return tmp_path_factory.mktemp("workspaces")


@pytest.fixture
def ids(monkeypatch: pytest.MonkeyPatch) -> FakeIds:
    """The ids of the test's workspaces."""
    ids = FakeIds("n")
    make_repeatable(ids, monkeypatch)
    return ids


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingDisk]:
    disk = FailingDisk(monkeypatch)
    yield disk
    disk.unblock()


@asynccontextmanager
async def open_workspace(workspace: TuiWorkspace) -> AsyncIterator[TuiWorkspace]:
    await workspace.open()
    yield workspace
    await workspace.close()


@pytest.fixture(scope="session")
def usual_tasks(template: WorkspaceTemplate, tmp_path_factory: pytest.TempPathFactory) -> list[Task]:
    """The tasks of ``workspace``, newest first, for tests that need no engine."""

    async def load() -> list[Task]:
        workspace = template.copy("usual", tmp_path_factory.mktemp("usual-tasks") / "workspace", FakeIds("u"))
        await workspace.open()
        await workspace.start_running_task()
        tasks = workspace.tasks()
        await workspace.close()
        return tasks

    return asyncio.run(load())
