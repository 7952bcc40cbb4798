"""Tests of file locks between open files of one or several processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.fs.locks import lock_file, try_lock
from tests.support.limits import TIMEOUT


@pytest.fixture
def descriptors(tmp_path: Path) -> Iterator[tuple[int, int]]:
    path = tmp_path / "lock"
    first, second = (os.open(path, os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2))
    yield first, second
    for fd in (first, second):
        os.close(fd)


def test_exclusive_lock_excludes_all_others(descriptors: tuple[int, int]) -> None:
    first, second = descriptors
    assert try_lock(first)
    assert not try_lock(second)
    assert not try_lock(second, shared=True)


def test_shared_locks_exclude_exclusive_ones_only(descriptors: tuple[int, int]) -> None:
    first, second = descriptors
    assert try_lock(first, shared=True)
    assert try_lock(second, shared=True)
    assert not try_lock(first)


def test_closed_descriptor_releases_the_lock(descriptors: tuple[int, int], tmp_path: Path) -> None:
    third = os.open(tmp_path / "lock", os.O_RDWR)
    assert try_lock(third)
    os.close(third)
    assert try_lock(descriptors[0])


def test_locked_file_waits_for_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    order: list[str] = []
    started = threading.Event()

    def wait_for_lock() -> None:
        started.set()
        with lock_file(path):
            order.append("second")

    thread = threading.Thread(target=wait_for_lock)
    with lock_file(path):
        thread.start()
        assert started.wait(TIMEOUT)
        order.append("first")
    thread.join(TIMEOUT)
    assert order == ["first", "second"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_locked_file_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock_file(tmp_path / "lock"):
        raise ZeroDivisionError
    with lock_file(tmp_path / "lock"):
        pass
