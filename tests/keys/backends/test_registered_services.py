"""Keys of the key services as the worker uses them: with certificates and versions that the workspace records."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from secrets import token_hex

import pytest
from cryptography import x509

from sealyard.crypto.certificates import compute_fingerprint, load_certificate
from sealyard.crypto.signatures import verify
from sealyard.keys.backend import KeyBackend
from sealyard.keys.backends.aws_kms.backend import AwsKmsBackend
from sealyard.keys.backends.vault.backend import VaultBackend
from sealyard.keys.key_records import KeyRecords
from sealyard.keys.registered import RegisteredKeyProvider
from sealyard.model.algorithms import KeyPurpose, KeyType, SigningAlgorithm
from tests.support.ministack import ROOT, MiniStack
from tests.support.openbao import MOUNT, OpenBao

MASTER_KEY = b"a canary among keys".ljust(32, b".")
KINDS = [
    (KeyType.RSA_2048, SigningAlgorithm.SHA256_PKCS_V15_2048),
    (KeyType.RSA_3072, SigningAlgorithm.SHA512_PSS),
    (KeyType.EC_P256, SigningAlgorithm.ECC_NIST_P256),
    (KeyType.ED25519, SigningAlgorithm.ED25519),
]
ML_DSA_KINDS = [
    (KeyType.ML_DSA_44, SigningAlgorithm.ML_DSA_44),
    (KeyType.ML_DSA_87, SigningAlgorithm.ML_DSA_87),
]


@asynccontextmanager
async def provider_of(scheme: str, backend: KeyBackend, folder: Path) -> AsyncIterator[RegisteredKeyProvider]:
    provider = RegisteredKeyProvider(scheme, backend, KeyRecords(folder / "records", MASTER_KEY))
    try:
        yield provider
    finally:
        await provider.close()


async def use_key(provider: RegisteredKeyProvider, name: str, kind: KeyType, algorithm: SigningAlgorithm) -> None:
    info = await provider.generate(name, kind, KeyPurpose.PACKAGE, "Gateway signing")
    canonical_name = info.uri.partition(":")[2]
    await provider.rotate(canonical_name)
    assert (await provider.register(name, kind, KeyPurpose.PACKAGE, None)).uri == info.uri
    versions = (await provider.get_info(canonical_name)).versions
    assert len({version.native_id for version in versions}) == len(versions) == 2
    for version in versions:
        certificate = load_certificate((version.certificate or "").encode())
        assert (certificate.kind, certificate.subject) == (kind, "Gateway signing")
        request = await provider.create_certificate_request(canonical_name, version.version)
        loaded_request = x509.load_pem_x509_csr(request.encode())
        assert loaded_request.is_signature_valid
        assert compute_fingerprint(loaded_request.public_key()) == version.fingerprint
        signer = await provider.signer(canonical_name, version.version, algorithm)
        signature = await signer.sign(b"message")
        assert verify(certificate.public_key, algorithm, b"message", signature, prehashed=False)


async def wrap_secrets(provider: RegisteredKeyProvider, name: str) -> None:
    info = await provider.generate(name, KeyType.AES_256, KeyPurpose.PACKAGE, "")
    canonical_name = info.uri.partition(":")[2]
    first = await provider.wrap(canonical_name, 1, b"secret", b"context")
    await provider.rotate(canonical_name)
    second = await provider.wrap(canonical_name, 2, b"secret", b"context")
    for version, wrapped in ((1, first), (2, second)):
        assert await provider.unwrap(canonical_name, version, wrapped, b"context") == b"secret"


@pytest.mark.parametrize(("kind", "algorithm"), [*KINDS, *ML_DSA_KINDS])
def test_key_of_vault_is_certified_and_rotated(
    openbao: OpenBao, tmp_path: Path, kind: KeyType, algorithm: SigningAlgorithm
) -> None:
    async def scenario() -> None:
        backend = await VaultBackend.open(*openbao.approle())
        async with provider_of("vault", backend, tmp_path) as provider:
            await use_key(provider, f"{MOUNT}/test-{token_hex(6)}", kind, algorithm)

    asyncio.run(scenario())


@pytest.mark.parametrize(("kind", "algorithm"), KINDS)
def test_kms_key_is_certified_and_rotated(
    ministack: MiniStack, tmp_path: Path, kind: KeyType, algorithm: SigningAlgorithm
) -> None:
    async def scenario() -> None:
        backend = await AwsKmsBackend.open(ministack.settings(), ROOT)
        async with provider_of("awskms", backend, tmp_path) as provider:
            await use_key(provider, f"alias/test-{token_hex(6)}", kind, algorithm)

    asyncio.run(scenario())


def test_secrets_are_wrapped_with_each_version(openbao: OpenBao, ministack: MiniStack, tmp_path: Path) -> None:
    async def scenario() -> None:
        vault = await VaultBackend.open(*openbao.approle())
        async with provider_of("vault", vault, tmp_path / "vault") as provider:
            await wrap_secrets(provider, f"{MOUNT}/test-{token_hex(6)}")
        aws_kms = await AwsKmsBackend.open(ministack.settings(), ROOT)
        async with provider_of("awskms", aws_kms, tmp_path / "awskms") as provider:
            await wrap_secrets(provider, f"alias/test-{token_hex(6)}")

    asyncio.run(scenario())
