"""Fixtures of worker processes that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.worker_fixtures import workspace, workspace_template
from tests.support.worker_harness import WorkerProcess, WorkerWorkspace

__all__ = ["workspace", "workspace_template"]


@pytest.fixture
def start_worker(workspace: WorkerWorkspace) -> Iterator[Callable[..., WorkerProcess]]:
    workers: list[WorkerProcess] = []

    def start(*command: str, shell: str = "") -> WorkerProcess:
        workers.append(WorkerProcess(workspace, command or ("-m", "sealyard.worker"), shell))
        return workers[-1]

    yield start
    for worker in workers:
        worker.close()


@pytest.fixture
def worker(workspace: WorkerWorkspace, start_worker: Callable[..., WorkerProcess]) -> WorkerProcess:
    return start_worker().open_key_store(workspace)
