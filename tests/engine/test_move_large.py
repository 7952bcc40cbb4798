"""Test that a move of a large workspace needs little memory in addition to that of the open workspace."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest

from sealyard.engine.state.ids import new_id
from sealyard.model.moves import MoveStep
from tests.support.engine_harness import EngineHarness
from tests.support.moves import build_move, read_content, require_continued
from tests.support.postgres import TestDatabase

pytestmark = [pytest.mark.anyio, pytest.mark.file_store]

TASKS = 20_000
EXTRA_BYTES = 8 << 20
"""Upper bound of the additional memory. The documents have more than 20 MB."""


class MemoryMeter:
    """Measures the memory that is allocated between two steps of a move."""

    def __init__(self) -> None:
        self.peaks: dict[MoveStep, int] = {}
        self._start = 0

    def on_step(self, step: MoveStep) -> None:
        if step is MoveStep.RECORDED:
            tracemalloc.start()
        else:
            self.peaks[step] = tracemalloc.get_traced_memory()[1] - self._start
        tracemalloc.reset_peak()
        self._start = tracemalloc.get_traced_memory()[0]
        if step is MoveStep.SWITCHED:
            tracemalloc.stop()


async def test_large_workspace(harness: EngineHarness, database: TestDatabase) -> None:
    template = await harness.package(justification="x" * 200)
    for start in range(0, TASKS, 2000):
        tasks = [msgspec.structs.replace(template, id=new_id()) for _ in range(start, start + 2000)]
        await harness.insert_tasks(*tasks)
    before = await read_content(harness)
    size = sum(map(len, before.documents.values()))
    assert size > 20 << 20
    await harness.close()
    for target in (database, None):
        meter = MemoryMeter()
        plan = await build_move(harness, target, meter.on_step).run()
        assert plan.documents > TASKS
        assert meter.peaks[MoveStep.COPIED] < EXTRA_BYTES
        if target is not None:
            assert meter.peaks[MoveStep.VERIFIED] < EXTRA_BYTES
        harness.database = target
        await harness.open(work=False)
        require_continued(before, await read_content(harness))
        await harness.close()
