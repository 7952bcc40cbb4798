"""Tests of the registry of key backends."""

from __future__ import annotations

import sys

import pytest

from sealyard.keys.backends.aws_kms.backend import AwsKmsBackend
from sealyard.keys.backends.vault.backend import VaultBackend
from sealyard.keys.registry import load_backend
from sealyard.model.errors import KeyProviderError
from tests.support.provider_process import BACKEND_FOLDER


def test_backends_of_other_packages_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BACKEND_FOLDER)
    assert load_backend("files").__name__ == "FileKeyBackend"  # type: ignore[attr-defined]


def test_unknown_scheme_error_names_known_schemes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BACKEND_FOLDER)
    with pytest.raises(KeyProviderError, match="Unknown key scheme 'unknown'") as caught:
        load_backend("unknown")
    assert "files" in caught.value.hint


def test_missing_module_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BACKEND_FOLDER)
    monkeypatch.setitem(sys.modules, "file_key_backend", None)
    with pytest.raises(KeyProviderError, match="module file_key_backend is missing") as caught:
        load_backend("files")
    assert "extra" in caught.value.hint


def test_backends_of_sealyard_are_loaded() -> None:
    assert load_backend("vault") is VaultBackend
    assert load_backend("awskms") is AwsKmsBackend
