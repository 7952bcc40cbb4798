"""Fixtures: the emulator MiniStack, and a bucket of it that the AWS SDK may use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.ministack import MiniStack, run_ministack
from tests.support.object_store import TestBucket, use_credentials


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    with run_ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server


@pytest.fixture
def bucket(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch) -> TestBucket:
    use_credentials(monkeypatch)
    return TestBucket(ministack)
