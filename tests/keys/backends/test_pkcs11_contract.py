"""The contract of key backends with SoftHSM 2."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from sealyard.keys.backend import KeyBackend
from sealyard.model.algorithms import KeyType
from tests.keys.backend_contract import BackendContract
from tests.support.softhsm import (
    TOKEN,
    SoftHsm,
    make_secrets,
    make_settings,
    open_token_backend,
    require_softhsm,
    set_environment,
    shared_softhsm,
    softhsm,
)

__all__ = ["shared_softhsm", "softhsm"]


class TestSoftHsm(BackendContract):
    SIGNING_KINDS = (KeyType.RSA_2048, KeyType.RSA_3072, KeyType.RSA_4096, KeyType.EC_P256, KeyType.ED25519)
    OTHER_KINDS = (KeyType.AES_128, KeyType.ML_DSA_44, KeyType.ML_DSA_65, KeyType.ML_DSA_87)

    @pytest.fixture(autouse=True)
    def _use_token(self, softhsm: SoftHsm) -> None:
        pass

    def open_backend(self) -> AbstractAsyncContextManager[KeyBackend]:
        return open_token_backend(make_settings(), make_secrets())

    def name_key(self, label: str) -> str:
        return f"token={TOKEN};object={label}"


class TestSerialCalls(TestSoftHsm):
    """A module that is called from one thread at a time."""

    def open_backend(self) -> AbstractAsyncContextManager[KeyBackend]:
        return open_token_backend(make_settings(serial=True), make_secrets())


class TestFewMechanisms(TestSoftHsm):
    """A token that signs no digests by RSA, and has no AES-GCM."""

    @pytest.fixture(autouse=True)
    def _use_token(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        require_softhsm()
        hsm = SoftHsm(tmp_path, "CKM_AES_GCM", "CKM_RSA_PKCS_PSS", "CKM_RSA_PKCS")
        hsm.create_token()
        set_environment(monkeypatch, hsm.environment)
