"""Tests of the registry of key providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.keys.local import LocalKeyProvider
from sealyard.keys.registry import key_provider
from sealyard.model.errors import InvalidKeyError


def test_local_scheme_returns_local_provider(tmp_path: Path) -> None:
    assert isinstance(key_provider("local", tmp_path, bytes(32)), LocalKeyProvider)
    assert (tmp_path / "local").is_dir()


def test_unknown_scheme_error_names_known_schemes(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError, match="local"):
        key_provider("pkcs11", tmp_path, bytes(32))
