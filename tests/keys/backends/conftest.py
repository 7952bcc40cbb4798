"""Fixtures of the key services. Each server is started once for the tests of a process."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest

from tests.support.ministack import MiniStack, run_ministack
from tests.support.openbao import OpenBao, run_openbao

if importlib.util.find_spec("pkcs11") is None and os.environ.get("SEALYARD_REQUIRE_INTEROP") != "1":
    # These tests import python-pkcs11, an optional dependency: pip install -e '.[interop]'
    collect_ignore_glob = ["test_pkcs11_*.py"]


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with run_openbao(tmp_path_factory.mktemp("openbao")) as server:
        yield server


@pytest.fixture(scope="session")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniStack]:
    with run_ministack(tmp_path_factory.mktemp("ministack")) as server:
        yield server
