"""Test that random keys raise no exception while tasks change."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sealyard.model.errors import ConflictError
from sealyard.model.tasks import TaskStatus
from tests.support.extent import choose_count
from tests.tui.pilot_helpers import make_app, run_app
from tests.tui.workspace import DEVELOPER, TuiWorkspace

LETTERS = "123456jkhlgGnNxXAabcdefimoprstvwyuzERVDJLMPq"
NAMED_KEYS = (
    "question_mark slash enter escape tab shift+tab up down left right space pageup pagedown home end backspace delete "
    "ctrl+s ctrl+p ctrl+a ctrl+d ctrl+u ctrl+o ctrl+e f1 f2 f3 f4 f5 f6 full_stop comma plus minus "
    "left_square_bracket right_square_bracket"
)
KEYS = (*LETTERS, *NAMED_KEYS.split())
KEY_COUNT = 200
TASK_CHANGE_RATE = 0.2
"""The share of the keys after which a task changes."""


@pytest.mark.parametrize("seed", range(choose_count(share=1, full=4)))
async def test_random_keys_raise_no_exception(
    workspace: TuiWorkspace, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.setenv("PAGER", "true")
    rng = random.Random(seed)
    app = make_app(workspace, ("developer", "owner", "auditor", "administrator")[seed])
    monkeypatch.setattr(app, "exit", _ignore_quit)
    pressed: list[str] = []
    async with run_app(app, size=rng.choice([(80, 24), (120, 40)])) as pilot:
        for _ in range(KEY_COUNT):
            pressed.append(rng.choice(KEYS))
            await pilot.press(pressed[-1])
            if rng.random() < TASK_CHANGE_RATE:
                with suppress(ConflictError):  # the application may change the task at the same time
                    await change_task(workspace, rng)
            assert app._exception is None, pressed


async def change_task(workspace: TuiWorkspace, rng: random.Random) -> None:
    """Change a task as another user, a worker or the clock would."""
    task = rng.choice(workspace.tasks())
    match task.status:
        case TaskStatus.WAITING:
            await rng.choice((workspace.approve, workspace.reject))(task)
        case TaskStatus.RUNNING if task.id in workspace.bus.jobs:
            worker = await workspace.wait_for_worker(task)
            rng.choice((worker.crash, worker.finish))()
        case TaskStatus.SCHEDULED:
            await workspace.cancel(task, DEVELOPER)
        case _:
            await workspace.add_task()
            workspace.clock.advance(hours=rng.choice((1, 30)))


def _ignore_quit(*_: Any, **__: Any) -> None:
    """Replace the quit action, so that the application runs until the last key."""
