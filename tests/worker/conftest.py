"""Worker processes that never outlive their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.worker_fixtures import founded, house
from tests.support.worker_harness import WorkerProcess, WorkerWorkspace

__all__ = ["founded", "house"]


@pytest.fixture
def start(house: WorkerWorkspace) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(*command: str, shell: str = "") -> WorkerProcess:
        started.append(WorkerProcess(house, command or ("-m", "sealyard.worker"), shell))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def worker(house: WorkerWorkspace, start: Callable[..., WorkerProcess]) -> WorkerProcess:
    return start().open_key_store(house)
