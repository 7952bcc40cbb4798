"""Fixtures of the key services. Each server is started once for the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.ministack import MiniStack, run_ministack
from tests.support.openbao import OpenBao, run_openbao


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with run_openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    with run_ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server
