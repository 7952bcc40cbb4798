"""Fixtures of the key services. Each server is started once for the tests of a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.openbao import OpenBao, run_openbao


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with run_openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server
