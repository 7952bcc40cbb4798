"""Test that a kill at any moment of a move of inputs and results loses none of them, and that it can be repeated."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sealyard.model.moves import FOLDER
from tests.crash.move_process import KeyState, MoveOrder
from tests.support.extent import IS_FULL
from tests.support.processes import killed_at_exit

if os.environ.get("SEALYARD_REQUIRE_INTEROP") != "1":
    pytest.importorskip("boto3")

from tests.support.artifact_moves import MovableHarness, Yard, build_artifacts_move, fill, require_usable
from tests.support.object_store import TestBucket
from tests.support.object_store_fixtures import bucket, ministack

__all__ = ["bucket", "ministack"]

pytestmark = [pytest.mark.anyio, pytest.mark.crash]

KILLS = 3
"""Kills of each direction in a normal run; in full, there is one before each operation."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def process(bucket: TestBucket) -> Iterator[subprocess.Popen[str]]:
    """Start the process, with the credentials of the bucket in its environment."""
    command = [sys.executable, "-m", "tests.crash.move_process"]
    with killed_at_exit(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)) as process:
        yield process


def run_move(process: subprocess.Popen[str], harness: MovableHarness, artifacts: str, step: int) -> int:
    """Run the move in a process; return the number of its operations, 0 if it was killed before ``step``."""
    keys = harness.paths.root.with_suffix(".keys")
    state = KeyState(generation=harness.shelf.store_generation, signed=harness.shelf.signed_checkpoint)
    keys.write_bytes(msgspec.json.encode(state))
    order = MoveOrder(folder=str(harness.paths.root), target=None, step=step, keys=str(keys), artifacts=artifacts)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(order).decode() + "\n")
    process.stdin.flush()
    count = int(process.stdout.readline())
    state = msgspec.json.decode(keys.read_bytes(), type=KeyState)
    harness.shelf.restore_state(state.generation, state.signed)
    return count


def copy_yard(yard: Yard, name: str) -> Yard:
    """Return a copy of a closed workspace in a folder."""
    root = yard.harness.paths.root.with_name(name)
    shutil.copytree(yard.harness.paths.root, root)
    return yard._replace(harness=MovableHarness(root, yard.harness.shelf.copy(yard.harness.clock), yard.harness.clock))


async def test_killed_move_of_artifacts_is_repeated(
    tmp_path: Path, bucket: TestBucket, process: subprocess.Popen[str]
) -> None:
    """Each copy of the workspace is moved there and back, with a kill in both moves."""
    harness = MovableHarness(tmp_path / "template")
    await harness.create()
    await harness.open()
    await harness.add_default_subjects()
    template = await fill(harness)
    await harness.close()
    complete = copy_yard(template, "complete")
    counts = {place: run_move(process, complete.harness, place, 0) for place in (bucket.url, FOLDER)}
    assert min(counts.values()) > 20
    longest = range(1, max(counts.values()) + 1)
    for step in longest if IS_FULL else sorted(random.sample(longest, KILLS)):
        yard = copy_yard(template, str(step))
        other_bucket = TestBucket(bucket.server)
        for place in (other_bucket.url, FOLDER):
            run_move(process, yard.harness, place, step)
            if step % 2:
                await yard.harness.open(work=False)
                await require_usable(yard)
                await yard.harness.close()
            if yard.harness.places.artifacts != place or yard.harness.paths.move.exists():
                await build_artifacts_move(yard.harness, place).run()
            await yard.harness.open(work=False)
            await require_usable(yard)
            moves = [entry for entry in await yard.harness.audit_entries() if f"to {place}: " in entry.message]
            assert len(moves) == 1
            await yard.harness.close()
            assert not yard.harness.paths.move.exists()
        shutil.rmtree(yard.harness.paths.root)
