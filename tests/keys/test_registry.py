"""Tests of the registry of key providers."""

from __future__ import annotations

import pytest

from sealyard.keys.local import LocalKeyProvider
from sealyard.keys.registry import load_provider
from sealyard.model.errors import InvalidKeyError


def test_local_scheme_returns_local_provider() -> None:
    assert load_provider("local") is LocalKeyProvider


def test_unknown_scheme_error_names_known_schemes() -> None:
    with pytest.raises(InvalidKeyError, match="local"):
        load_provider("unknown")
