"""A workspace with keys for each test, made once and copied; worker processes that never outlive their test."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from worker_house import House, WorkerProcess, found

from sealyard.model.keys import KeyInfo


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, KeyInfo]]:
    root = tmp_path_factory.mktemp("founded") / "workspace"
    return root, found(root)


@pytest.fixture
def house(tmp_path: Path, founded: tuple[Path, dict[str, KeyInfo]]) -> House:
    root, keys = founded
    shutil.copytree(root, tmp_path / "workspace")
    return House(tmp_path / "workspace", keys)


@pytest.fixture
def start(house: House) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(*command: str, shell: str = "") -> WorkerProcess:
        started.append(WorkerProcess(house, command or ("-m", "sealyard.worker"), shell))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def worker(house: House, start: Callable[..., WorkerProcess]) -> WorkerProcess:
    return start().unlocked(house)
