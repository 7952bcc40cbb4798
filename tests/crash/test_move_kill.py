"""Test that a kill at any moment of a move leaves exactly one usable workspace, and that a repetition completes it."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from sealyard.engine.workspace import load_metadata, save_metadata
from sealyard.model.moves import FOLDER
from sealyard.model.workspace import WorkspacePaths
from tests.crash.move_process import KeyState, MoveOrder
from tests.support.cli_runner import command, run_process
from tests.support.engine_harness import EngineHarness
from tests.support.extent import IS_FULL, choose_count
from tests.support.moves import move, read_content, require_continued
from tests.support.postgres import TestDatabase
from tests.support.postgres_fixtures import database, postgres_server
from tests.support.processes import killed_at_exit
from tests.support.workspace_files import (
    ADMIN,
    DEVELOPER,
    OWNER,
    PASSPHRASE,
    create_workspace_with_device,
    open_engine,
)

__all__ = ["database", "postgres_server"]

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

KILLS = 12
"""Kills of each direction in a normal run; in full, there is one before each operation."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.crash.move_process"]
    with killed_at_exit(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)) as process:
        yield process


@pytest.fixture
async def template(tmp_path: Path) -> EngineHarness:
    """Return a closed workspace with a task."""
    harness = EngineHarness(tmp_path / "template")
    await harness.create()
    await harness.open(work=False)
    await harness.add_default_subjects()
    await harness.package()
    await harness.close()
    return harness


def run_move(process: subprocess.Popen[str], harness: EngineHarness, target: str, step: int) -> int:
    """Run the move in a process; return the number of its operations, 0 if it was killed before ``step``."""
    keys = harness.paths.root.with_suffix(".keys")
    state = KeyState(generation=harness.shelf.store_generation, signed=harness.shelf.signed_checkpoint)
    keys.write_bytes(msgspec.json.encode(state))
    order = MoveOrder(folder=str(harness.paths.root), target=target, step=step, keys=str(keys))
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(order).decode() + "\n")
    process.stdin.flush()
    count = int(process.stdout.readline())
    state = msgspec.json.decode(keys.read_bytes(), type=KeyState)
    harness.shelf.restore_state(state.generation, state.signed)
    return count


def copy_workspace(template: EngineHarness, database: TestDatabase, name: str) -> tuple[EngineHarness, TestDatabase]:
    """Return a copy of a closed workspace, and of the database that contains it or is to contain it."""
    root = template.paths.root.with_name(name)
    shutil.copytree(template.paths.root, root)
    copied_database = database.copy()
    is_in_database = template.database is not None
    copy = EngineHarness(root, template.shelf.copy(template.clock), template.clock)
    if is_in_database:
        copy.database = copied_database
        metadata = load_metadata(copy.paths)
        save_metadata(copy.paths, msgspec.structs.replace(metadata, database=copied_database.connection_string))
    return copy, copied_database


@pytest.mark.parametrize("back", [False, True])
async def test_killed_move_is_repeated(
    template: EngineHarness, database: TestDatabase, process: subprocess.Popen[str], back: bool
) -> None:
    if back:
        await move(template, database)
        await template.close()
    await template.open(work=False)
    before = await read_content(template)
    await template.close()
    complete, target_database = copy_workspace(template, database, "complete")
    target = FOLDER if back else target_database.connection_string
    count = run_move(process, complete, target, 0)
    assert count > 30
    steps = range(1, count + 1)
    switched: set[bool] = set()
    for step in steps if IS_FULL else sorted(random.sample(steps, KILLS)):
        harness, target_database = copy_workspace(template, database, str(step))
        target = FOLDER if back else target_database.connection_string
        assert run_move(process, harness, target, step) in (0, count - 1, count)
        target_database.expire_lease()
        is_switched = (load_metadata(harness.paths).database is msgspec.UNSET) is back
        switched.add(is_switched)
        if not is_switched and step % 2:
            await harness.open(work=False)
            require_continued(before, await read_content(harness))
        if harness.is_open or not is_switched or harness.paths.move.exists():
            await move(harness, None if back else target_database)
        else:
            harness.database = None if back else target_database
            await harness.open(work=False)
        require_continued(before, await read_content(harness))
        await harness.close()
        assert not harness.paths.move.exists()
        shutil.rmtree(harness.paths.root)
    if IS_FULL:
        assert switched == {False, True}


@pytest.mark.timeout(1800)
async def test_killed_command_is_repeated(
    tmp_path: Path, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key holder and workers, at random times: the worker state and its anchor fit store and audit log."""
    monkeypatch.setenv("SEALYARD_PASSPHRASE", PASSPHRASE)
    folder = tmp_path / "workspace"
    await create_workspace_with_device(folder)
    paths, longest = WorkspacePaths(folder), 4.0
    subjects = {ADMIN, DEVELOPER, OWNER}
    for number in range(choose_count(share=2, full=40)):
        is_in_database = load_metadata(paths).database is not msgspec.UNSET
        target = ("--to-folder",) if is_in_database else ("--database", database.connection_string)
        arguments = command("workspace", "move", "--workspace", folder, *target, "--yes")
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with killed_at_exit(process), suppress(subprocess.TimeoutExpired):
            started_at = time.monotonic()
            process.wait(random.uniform(0.5, longest))
            longest = time.monotonic() - started_at
        database.expire_lease()
        result = await asyncio.to_thread(run_process, *arguments[3:])
        assert result.code == 0 or "already there" in result.err, result
        assert (load_metadata(paths).database is msgspec.UNSET) is is_in_database
        async with open_engine(folder) as engine:
            client = engine.client(ADMIN)
            report = await client.verify_audit()
            assert report.size > number
            subjects.add(f"USER:{number}")
            await client.add_subject(f"USER:{number}")
            assert {subject.id for subject in (await client.access()).subjects} == subjects
