"""What a configuration can be made of is told with its caveats."""

from __future__ import annotations

from sealyard.client.capabilities import load_capabilities
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm


def test_every_algorithm_is_told_with_its_keys_and_caveats() -> None:
    told = load_capabilities()
    assert set(told.encryption) == set(EncryptionAlgorithm)
    assert set(told.signing) == set(SigningAlgorithm)
    assert any("patterns" in each for each in told.encryption[EncryptionAlgorithm.AES256_ECB_ZERO_BYTE_PAD].caveats)
    assert told.signing[SigningAlgorithm.SHA256_PSS].key_kinds == (KeyType.RSA_3072, KeyType.RSA_4096)
    assert "se-1" in told.formats
