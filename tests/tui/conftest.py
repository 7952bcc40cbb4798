"""What all tests of the application stand on."""

from __future__ import annotations

import asyncio
import gc
import inspect
from pathlib import Path

import pytest
import textual.app
import textual.pilot

from sealyard_tui.dialogs.reason import ReasonDialog
from tests.tui.pilot_helpers import IDLE_WINDOW, wait_idle
from tests.tui.tui_world import World

# Each application leaves thousands of objects behind; at Python's own pace a fifth of the time goes into looking at
# them again and again.
gc.set_threshold(100_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Tests of the application are coroutines: each runs on a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes what is the person's who runs it."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("NO_COLOR", "TEXTUAL_THEME", "TEXTUAL_ANIMATIONS", "VISUAL", "EDITOR", "PAGER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def no_drafts() -> None:
    """Dialogs keep what was typed for as long as the process lives."""
    ReasonDialog.drafts.clear()


@pytest.fixture(autouse=True)
def idle_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pilots wait for what is to be done, not for what the clock says."""
    monkeypatch.setattr(textual.app, "wait_for_idle", wait_idle)
    monkeypatch.setattr(textual.pilot, "wait_for_idle", wait_idle)


PAUSES = (
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
"""What waits for a person's hands, or gathers what comes together."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """So short that a pilot waits for their end."""
    for each in PAUSES:
        monkeypatch.setattr(f"sealyard_tui.{each}", IDLE_WINDOW / 2)


@pytest.fixture
def world() -> World:
    return World()
