"""Tests of the size of a job, which all its heartbeats report, even before its handler runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sealyard.model.worker_messages import Job
from sealyard.worker.job_context import count_bytes
from tests.support.worker_harness import WorkerWorkspace


@pytest.mark.parametrize(
    ("create_job", "size"),
    [
        (lambda workspace: workspace.package(b"four", b"seven77"), 22),
        (lambda workspace: workspace.encryption(b"four"), 8),
        (lambda workspace: workspace.signing(b"four"), 4),
        (lambda workspace: workspace.signing_of_file(b"seven77"), 7),
    ],
)
def test_count_bytes_counts_written_and_checked_bytes(
    workspace: WorkerWorkspace, create_job: Callable[[WorkerWorkspace], Job], size: int
) -> None:
    assert count_bytes(create_job(workspace).task) == size
