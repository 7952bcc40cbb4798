"""Tests of the engine when another process writes to its workspace: it stops, and reports the error to every client."""

from __future__ import annotations

import pytest

from sealyard.model.errors import ConcurrentWriterError
from sealyard.model.tasks import TaskStatus
from sealyard.storage.frame_format import EncodedBatch, Frame, encode_frame
from tests.support.engine_harness import DEV, EngineHarness
from tests.support.store_helpers import begin_chain

pytestmark = [pytest.mark.anyio, pytest.mark.file_store]


def append_foreign_frame(harness: EngineHarness) -> bytes:
    """Append the frame of another writer to the journal, and return the content of the journal."""
    journal = harness.paths.store / "journal-1.log"
    with journal.open("ab") as file:
        file.write(encode_frame(Frame(10_000, units=[EncodedBatch()]), begin_chain()))
    return journal.read_bytes()


async def test_engine_stops_after_foreign_commit(harness: EngineHarness) -> None:
    task = await harness.approved_package()
    worker = await harness.wait_for_worker(task)
    journal = append_foreign_frame(harness)
    with pytest.raises(ConcurrentWriterError, match="Another process"):
        await harness.signing()
    await harness.wait_until(lambda: harness.bus.closed)
    with pytest.raises(ConcurrentWriterError):
        await harness.cancel(task)
    with pytest.raises(ConcurrentWriterError):
        await harness.engine.scheduler.wait_idle()
    worker.request_signing()
    assert not worker.permitted
    assert harness.task(task.id).status is TaskStatus.RUNNING
    assert (harness.paths.store / "journal-1.log").read_bytes() == journal


async def test_stopped_engine_still_answers_queries(harness: EngineHarness) -> None:
    task = await harness.package()
    append_foreign_frame(harness)
    with pytest.raises(ConcurrentWriterError):
        await harness.signing()
    assert harness.engine.queries.get(DEV, task.id).id == task.id


async def test_stopped_engine_is_not_ready(harness: EngineHarness) -> None:
    append_foreign_frame(harness)
    health = await harness.engine.health.health()
    assert not health.ready
    assert "Another process" in health.failures[0].detail


async def test_engine_stops_after_foreign_audit_entry(harness: EngineHarness) -> None:
    await harness.engine._checkpoint_loop.checkpoint()  # type: ignore[union-attr]
    segment = harness.paths.audit / "segment-000000.jsonl"
    with segment.open("ab") as file:
        file.write(b"{}\n")
    before = segment.read_bytes()
    await harness.signing()
    await harness.wait_until(lambda: harness.engine.repository.fatal_error is not None)
    with pytest.raises(ConcurrentWriterError, match=r"segment-000000\.jsonl"):
        await harness.signing()
    assert segment.read_bytes() == before
