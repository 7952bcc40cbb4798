"""Test the capabilities that a device configuration can use."""

from __future__ import annotations

from sealyard.client.capabilities import load_capabilities
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm


def test_capabilities_include_key_types_and_caveats() -> None:
    capabilities = load_capabilities()
    assert set(capabilities.encryption) == set(EncryptionAlgorithm)
    assert set(capabilities.signing) == set(SigningAlgorithm)
    assert any(
        "patterns" in each for each in capabilities.encryption[EncryptionAlgorithm.AES256_ECB_ZERO_BYTE_PAD].caveats
    )
    assert capabilities.signing[SigningAlgorithm.SHA256_PSS].key_kinds == (KeyType.RSA_3072, KeyType.RSA_4096)
    assert "se-1" in capabilities.formats
