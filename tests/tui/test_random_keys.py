"""Whatever is pressed, in whatever order, while tasks change: the application goes on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealyard.model.tasks import TaskStatus
from tests.tui.pilot_helpers import make_app, run_app
from tests.tui.tui_world import World

LETTERS = "123456jkhlgGnNxXAabcdefimoprstvwyuzERVDJLMPq"
NAMES = (
    "question_mark slash enter escape tab shift+tab up down left right space pageup pagedown home end backspace delete "
    "ctrl+s ctrl+p ctrl+a ctrl+d ctrl+u ctrl+o ctrl+e f1 f2 f3 f4 f5 f6 full_stop comma plus minus "
    "left_square_bracket right_square_bracket"
)
KEYS = (*LETTERS, *NAMES.split())
PRESSED = 200
CHANGED_SHARE = 0.2
"""Of the keys after which a task changes by itself."""


@pytest.mark.parametrize("seed", range(4))
async def test_no_keys_end_the_application_by_a_fault(
    world: World, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("EDITOR", "true")
    monkeypatch.setenv("PAGER", "true")
    chosen = random.Random(seed)
    app = make_app(world, ("developer", "owner", "auditor", "administrator")[seed])
    monkeypatch.setattr(app, "exit", _stays)
    pressed: list[str] = []
    async with run_app(app, size=chosen.choice([(80, 24), (120, 40)])) as pilot:
        for _ in range(PRESSED):
            pressed.append(chosen.choice(KEYS))
            await pilot.press(pressed[-1])
            if chosen.random() < CHANGED_SHARE:
                task = world.tasks[chosen.choice(sorted(world.tasks))]
                world.put(msgspec.structs.replace(task, status=chosen.choice(list(TaskStatus))))
            assert app._exception is None, pressed


def _stays(*_: Any, **__: Any) -> None:
    """Quitting is not what is looked for."""
