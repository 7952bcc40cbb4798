"""Test the checks of files and messages before they are uploaded."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from sealyard.client.capabilities import check_message, check_package, signs_digest
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.device_configs import DeviceConfig, EncryptionKey, SigningKey
from sealyard.model.errors import FormatLimitError, InvalidInputError, NotFoundError

GIBIBYTE = 1 << 30


def build_config(encryption: EncryptionAlgorithm = EncryptionAlgorithm.AES256_CBC_PKCS7_PAD) -> DeviceConfig:
    return DeviceConfig(
        id="gw",
        version=1,
        name="gateway",
        encryption_keys=(EncryptionKey(algorithm=encryption, uri="local:e", version=1),),
        signing_keys=(SigningKey(algorithm=SigningAlgorithm.SHA512_PSS, uri="local:s", version=1),),
        format="se-1",
        approvals_required=1,
        link_ttl_seconds=60,
        retention_seconds=60,
        created_by="USER:a",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_valid_package_has_no_warnings() -> None:
    assert check_package(build_config(), (("a.bin", 1 << 20),), (("m.json", 100),)) == ()


@pytest.mark.parametrize(
    ("firmware", "metadata", "expected"),
    [
        ((("a.bin", 1),) * 256, (), "at most 255 firmware files"),
        ((("a.bin", 4 * GIBIBYTE - 1),), (), "with padding and IV"),
        ((("a.bin", 1),), (("m.json", 65_536),), "65535"),
    ],
)
def test_package_beyond_format_limit_is_rejected(
    firmware: tuple[tuple[str, int], ...], metadata: tuple[tuple[str, int], ...], expected: str
) -> None:
    with pytest.raises(FormatLimitError, match=expected):
        check_package(build_config(), firmware, metadata)


def test_zero_padding_unaligned_file_returns_warning() -> None:
    (warning,) = check_package(build_config(EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD), (("a.bin", 17),))
    assert "not a multiple of 16" in warning


def test_unknown_format_raises_not_found() -> None:
    with pytest.raises(NotFoundError):
        check_package(msgspec.structs.replace(build_config(), format="zip"), (("a.bin", 1),))


def test_digest_signing_requires_32_bytes() -> None:
    assert {each for each in SigningAlgorithm if signs_digest(each)} == {
        SigningAlgorithm.SHA256_RSA_3072_PSS,
        SigningAlgorithm.SHA256_RSA_4096_PSS,
    }
    check_message(SigningAlgorithm.SHA256_RSA_3072_PSS, 32)
    with pytest.raises(InvalidInputError, match="exactly 32"):
        check_message(SigningAlgorithm.SHA256_RSA_3072_PSS, 31)


def test_message_above_size_limit_is_rejected() -> None:
    check_message(SigningAlgorithm.ED25519, 1 << 20)
    with pytest.raises(InvalidInputError, match="at most"):
        check_message(SigningAlgorithm.ED25519, (1 << 20) + 1)
