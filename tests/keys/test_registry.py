"""Key providers by scheme."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.keys.local import LocalKeyProvider
from sealyard.keys.registry import key_provider
from sealyard.model.errors import InvalidKeyError


def test_local_keys_are_found_by_their_scheme(tmp_path: Path) -> None:
    assert isinstance(key_provider("local", tmp_path, bytes(32)), LocalKeyProvider)
    assert (tmp_path / "local").is_dir()


def test_an_unknown_scheme_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError, match="local"):
        key_provider("pkcs11", tmp_path, bytes(32))
