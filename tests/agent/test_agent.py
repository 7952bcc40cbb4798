"""Test the agent with real workers, PostgreSQL and an object store, and a scripted engine."""

from __future__ import annotations

from pathlib import Path

from sealyard.model.keys import KeyInfo
from sealyard.model.worker_messages import JobFinished
from sealyard.storage.result_id import ResultId
from tests.support.crypto_host import enroll, running_host
from tests.support.scripted_engine import ScriptedEngine
from tests.support.worker_harness import WorkerWorkspace


async def test_package_job_uploads_its_result(
    engine: ScriptedEngine, jobs: WorkerWorkspace, zone_keys: tuple[Path, dict[str, KeyInfo]], tmp_path: Path
) -> None:
    paths = await enroll(tmp_path / "host", engine, zone_keys[0])
    async with running_host(paths):
        job = jobs.package(b"firmware " * 10_000)
        report = await engine.run(job)
        assert isinstance(report, JobFinished), report
        content = jobs.artifacts.open_result(ResultId(job.task.id, 1)).read()
        assert len(content) == report.size
