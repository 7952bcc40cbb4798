"""The contract of key backends for AWS KMS, with an emulator."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

import pytest

from sealyard.keys.backend import KeyBackend
from sealyard.model.algorithms import KeyType
from tests.keys.backend_contract import BackendContract
from tests.support.ministack import ACCOUNT, REGION, MiniStack, open_kms

ML_DSA = (KeyType.ML_DSA_44, KeyType.ML_DSA_65, KeyType.ML_DSA_87)
"""Types that the emulator does not have; ``test_aws_kms_ml_dsa.py`` tests them."""


class TestAwsKmsBackend(BackendContract):
    SIGNING_KINDS = tuple(kind for kind in KeyType if not kind.symmetric and kind not in ML_DSA)
    OTHER_KINDS = (KeyType.AES_128, *ML_DSA)

    @pytest.fixture(autouse=True)
    def _start_server(self, ministack: MiniStack) -> None:
        self._server = ministack

    def open_backend(self) -> AbstractAsyncContextManager[KeyBackend]:
        return open_kms(self._server.settings())

    def name_key(self, label: str) -> str:
        return f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/{label}"
