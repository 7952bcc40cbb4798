"""Tests of the provider of keys in tokens and key services, with a backend in memory."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sealyard.crypto.algorithms import SIGNATURES, SigningInput
from sealyard.crypto.certificates import compute_fingerprint, load_certificate
from sealyard.crypto.signatures import verify
from sealyard.keys.key_records import KeyRecords
from sealyard.keys.registered import RegisteredKeyProvider
from sealyard.model.algorithms import EncryptionAlgorithm, HashName, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.errors import (
    AlreadyExistsError,
    InvalidInputError,
    InvalidKeyError,
    KeyProviderError,
    KeyProviderUnavailableError,
    KeyStoreCorruptedError,
    NotFoundError,
    StorageError,
)
from sealyard.model.keys import KeyInfo
from tests.support.authority import Authority, encode_chain
from tests.support.key_files import private_key, write_certificate
from tests.support.memory_backend import MAX_MESSAGE_BYTES, MemoryBackend

MASTER_KEY = b"a canary among keys".ljust(32, b".")
PACKAGE = KeyPurpose.PACKAGE
SIGNING_KINDS = [kind for kind in KeyType if not kind.symmetric]
SECRET = b"a canary among device keys".ljust(32, b".")


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def provider(backend: MemoryBackend, tmp_path: Path) -> RegisteredKeyProvider:
    return RegisteredKeyProvider("vault", backend, KeyRecords(tmp_path / "records", MASTER_KEY))


def certificate_of(info: KeyInfo) -> x509.Certificate:
    return x509.load_pem_x509_certificate((info.current.certificate or "").encode())


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_generated_key_has_self_signed_certificate(
    provider: RegisteredKeyProvider, backend: MemoryBackend, kind: KeyType
) -> None:
    async def scenario() -> None:
        info = await provider.generate("gateway", kind, PACKAGE, "Gateway signing")
        assert (info.uri, info.kind, info.purpose) == ("vault:gateway", kind, PACKAGE)
        assert (info.current.version, info.current.origin, info.current.native_id) == (1, "generated", "1")
        certificate = certificate_of(info)
        certificate.verify_directly_issued_by(certificate)
        assert load_certificate((info.current.certificate or "").encode()).subject == "Gateway signing"
        assert compute_fingerprint(certificate.public_key()) == info.current.fingerprint
        assert await provider.get_info("gateway") == info
        described = await backend.describe("gateway")
        assert await provider.get_capabilities("gateway") == described.capabilities

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_certificate_request_is_signed_by_the_key(provider: RegisteredKeyProvider, kind: KeyType) -> None:
    async def scenario() -> None:
        info = await provider.generate("gateway", kind, PACKAGE, "Gateway signing")
        request = x509.load_pem_x509_csr((await provider.create_certificate_request("gateway", 1)).encode())
        assert request.is_signature_valid
        assert compute_fingerprint(request.public_key()) == info.current.fingerprint
        assert request.subject.rfc4514_string() == "CN=Gateway signing"

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_signatures_verify_with_recorded_key(provider: RegisteredKeyProvider, kind: KeyType) -> None:
    async def scenario() -> None:
        info = await provider.generate("gateway", kind, PACKAGE, "name")
        public_key = load_pem_public_key((info.current.public_key or "").encode())
        for algorithm in (await provider.get_capabilities("gateway")).algorithms:
            spec = SIGNATURES[algorithm]
            prehashed = spec.input is SigningInput.SHA256_DIGEST
            data = hashlib.sha256(b"message").digest()
            signature = await (await provider.signer("gateway", 1, algorithm)).sign(data)
            assert verify(public_key, algorithm, data, signature, prehashed=prehashed)
            if spec.hash is None:
                with pytest.raises(InvalidKeyError):
                    await provider.signer("gateway", 1, algorithm, prehashed=True)
                continue
            digest = hashlib.new(spec.hash, b"message").digest()
            signature = await (await provider.signer("gateway", 1, algorithm, prehashed=True)).sign(digest)
            assert verify(public_key, algorithm, digest, signature, prehashed=True)

    asyncio.run(scenario())


def test_long_message_is_hashed_in_the_worker(provider: RegisteredKeyProvider, backend: MemoryBackend) -> None:
    async def scenario() -> None:
        await provider.generate("gateway", KeyType.EC_P256, PACKAGE, "name")
        signer = await provider.signer("gateway", 1, SigningAlgorithm.SHA256_ECDSA)
        for length in (MAX_MESSAGE_BYTES, MAX_MESSAGE_BYTES + 1):
            await signer.sign(bytes(length))
        message, digest = (signed[1:] for signed in backend.signed[-2:])
        assert message == (bytes(MAX_MESSAGE_BYTES), None)
        assert digest == (hashlib.sha256(bytes(MAX_MESSAGE_BYTES + 1)).digest(), HashName.SHA256)

    asyncio.run(scenario())


def test_long_message_for_ed25519_names_an_alternative(provider: RegisteredKeyProvider) -> None:
    async def scenario() -> None:
        await provider.generate("gateway", KeyType.ED25519, PACKAGE, "name")
        signer = await provider.signer("gateway", 1, SigningAlgorithm.ED25519)
        await signer.sign(bytes(MAX_MESSAGE_BYTES))
        with pytest.raises(InvalidKeyError, match="at most 4,096 bytes") as caught:
            await signer.sign(bytes(MAX_MESSAGE_BYTES + 1))
        assert "EC_P256" in caught.value.hint

    asyncio.run(scenario())


def test_digest_of_wrong_length_is_rejected(provider: RegisteredKeyProvider, backend: MemoryBackend) -> None:
    async def scenario() -> None:
        await provider.generate("gateway", KeyType.RSA_3072, PACKAGE, "name")
        count = len(backend.signed)
        signer = await provider.signer("gateway", 1, SigningAlgorithm.SHA256_RSA_3072_PSS)
        with pytest.raises(InvalidInputError):
            await signer.sign(b"a message, not a digest")
        assert len(backend.signed) == count

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", SIGNING_KINDS)
def test_wrong_signature_is_not_returned(
    provider: RegisteredKeyProvider, backend: MemoryBackend, kind: KeyType
) -> None:
    async def scenario() -> None:
        await provider.generate("gateway", kind, PACKAGE, "name")
        backend.signs_wrongly = True
        for algorithm in (await provider.get_capabilities("gateway")).algorithms:
            with pytest.raises(KeyProviderError, match="vault:gateway is not valid"):
                await (await provider.signer("gateway", 1, algorithm)).sign(hashlib.sha256(b"message").digest())

    asyncio.run(scenario())


def test_replaced_key_is_detected(provider: RegisteredKeyProvider, backend: MemoryBackend) -> None:
    async def scenario() -> None:
        await provider.generate("gateway", KeyType.ED25519, PACKAGE, "name")
        backend.insert("gateway", private_key(KeyType.ED25519))
        with pytest.raises(KeyProviderError, match="recorded public key"):
            await (await provider.signer("gateway", 1, SigningAlgorithm.ED25519)).sign(b"message")

    asyncio.run(scenario())


def test_existing_key_is_registered_by_alias(
    provider: RegisteredKeyProvider, backend: MemoryBackend, tmp_path: Path
) -> None:
    async def scenario() -> None:
        key = private_key(KeyType.EC_P256)
        backend.insert("gateway", key)
        certificate = write_certificate(tmp_path / "crt", key).read_bytes()
        info = await provider.register("alias/gateway", KeyType.EC_P256, PACKAGE, certificate)
        assert (info.uri, info.current.origin) == ("vault:gateway", "registered")
        assert certificate_of(info).public_bytes is not None
        assert load_certificate((info.current.certificate or "").encode()).subject == "company PKI"
        assert await provider.register("gateway", KeyType.EC_P256, PACKAGE, certificate) == info
        assert await provider.register("alias/gateway", KeyType.EC_P256, PACKAGE, None) == info

    asyncio.run(scenario())


def test_registration_without_certificate_creates_one(provider: RegisteredKeyProvider, backend: MemoryBackend) -> None:
    async def scenario() -> None:
        backend.insert("gateway", private_key(KeyType.ED25519))
        info = await provider.register("gateway", KeyType.ED25519, PACKAGE, None)
        certificate = certificate_of(info)
        certificate.verify_directly_issued_by(certificate)
        assert info.current.origin == "registered"

    asyncio.run(scenario())


def test_registration_adds_version_of_rotated_key(provider: RegisteredKeyProvider, backend: MemoryBackend) -> None:
    async def scenario() -> None:
        await provider.generate("gateway", KeyType.ED25519, PACKAGE, "name")
        await backend.rotate("gateway")
        info = await provider.register("gateway", KeyType.ED25519, PACKAGE, None)
        assert [(each.version, each.native_id) for each in info.versions] == [(1, "1"), (2, "2")]

    asyncio.run(scenario())


def test_unsuitable_key_is_not_registered(
    provider: RegisteredKeyProvider, backend: MemoryBackend, tmp_path: Path
) -> None:
    async def scenario() -> None:
        backend.insert("gateway", private_key(KeyType.EC_P256))
        foreign = write_certificate(tmp_path / "crt", private_key(KeyType.ED25519)).read_bytes()
        for kind, certificate, error in (
            (KeyType.ED25519, None, InvalidKeyError),
            (KeyType.AES_256, None, InvalidKeyError),
            (KeyType.EC_P256, foreign, InvalidKeyError),
        ):
            with pytest.raises(error):
                await provider.register("gateway", kind, PACKAGE, certificate)
        with pytest.raises(NotFoundError):
            await provider.register("unknown", KeyType.EC_P256, PACKAGE, None)
        with pytest.raises(NotFoundError):
            await provider.get_info("gateway")
        await provider.register("gateway", KeyType.EC_P256, PACKAGE, None)
        with pytest.raises(InvalidKeyError, match="with the purpose package"):
            await provider.register("gateway", KeyType.EC_P256, KeyPurpose.DATA, None)

    asyncio.run(scenario())


def test_rotation_keeps_subject_and_old_versions(provider: RegisteredKeyProvider) -> None:
    async def scenario() -> None:
        first = (await provider.generate("gateway", KeyType.ED25519, PACKAGE, "Gateway signing")).current
        second = await provider.rotate("gateway")
        info = await provider.get_info("gateway")
        assert info.versions == (first, second)
        assert load_certificate((second.certificate or "").encode()).subject == "Gateway signing"
        for version in info.versions:
            signature = await (await provider.signer("gateway", version.version, SigningAlgorithm.ED25519)).sign(b"x")
            public_key = load_pem_public_key((version.public_key or "").encode())
            assert verify(public_key, SigningAlgorithm.ED25519, b"x", signature, prehashed=False)

    asyncio.run(scenario())


def test_renewed_certificate_keeps_the_key(
    provider: RegisteredKeyProvider, backend: MemoryBackend, tmp_path: Path
) -> None:
    async def scenario() -> None:
        key = private_key(KeyType.ED25519)
        backend.insert("gateway", key)
        await provider.register("gateway", KeyType.ED25519, PACKAGE, None)
        content = write_certificate(tmp_path / "crt", key).read_bytes()
        version = await provider.import_certificate("gateway", 1, content)
        assert (version.version, version.origin, version.native_id) == (2, "renewed", "1")
        assert await provider.import_certificate("gateway", 1, content) == version
        await (await provider.signer("gateway", 2, SigningAlgorithm.ED25519)).sign(b"message")
        foreign = write_certificate(tmp_path / "crt2", private_key(KeyType.EC_P256)).read_bytes()
        with pytest.raises(InvalidKeyError):
            await provider.import_certificate("gateway", 1, foreign)

    asyncio.run(scenario())


def test_chain_is_recorded_with_registration_and_renewal(
    provider: RegisteredKeyProvider, backend: MemoryBackend
) -> None:
    async def scenario() -> None:
        key = private_key(KeyType.EC_P256)
        backend.insert("gateway", key)
        root = Authority("root")
        issuer = Authority("issuer", root)
        leaf = issuer.issue(key.public_key())
        content = encode_chain(root.certificate, issuer.certificate, leaf)
        info = await provider.register("gateway", KeyType.EC_P256, PACKAGE, content)
        assert "".join(info.current.certificate_chain).encode() == encode_chain(leaf, issuer.certificate)
        version = await provider.import_certificate("gateway", 1, encode_chain(leaf))
        assert (version.version, version.issuer_certificates, version.native_id) == (2, (), "1")
        assert (await provider.import_certificate("gateway", 2, content)).version == 3

    asyncio.run(scenario())


def test_wrapping_key_wraps_and_has_no_certificate(provider: RegisteredKeyProvider) -> None:
    async def scenario() -> None:
        info = await provider.generate("wraps", KeyType.AES_256, PACKAGE, "")
        assert (info.current.certificate, info.current.public_key, len(info.current.fingerprint)) == (None, None, 16)
        await provider.rotate("wraps")
        wrapped = await provider.wrap("wraps", 1, SECRET, b"context")
        assert await provider.unwrap("wraps", 1, wrapped, b"context") == SECRET
        for version, associated_data in ((1, b""), (2, b"context")):
            with pytest.raises(InvalidKeyError):
                await provider.unwrap("wraps", version, wrapped, associated_data)
        for size in (0, 4097):
            with pytest.raises(InvalidInputError):
                await provider.wrap("wraps", 1, bytes(size), b"")
        with pytest.raises(InvalidKeyError, match="cannot encrypt firmware"):
            await provider.cipher("wraps", 1, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
        with pytest.raises(InvalidKeyError):
            await provider.export_symmetric("wraps", 1)
        with pytest.raises(InvalidKeyError):
            await provider.create_certificate_request("wraps", 1)

    asyncio.run(scenario())


def test_signing_key_cannot_wrap_or_be_imported(provider: RegisteredKeyProvider) -> None:
    async def scenario() -> None:
        await provider.generate("gateway", KeyType.ED25519, PACKAGE, "name")
        with pytest.raises(InvalidKeyError):
            await provider.wrap("gateway", 1, SECRET, b"")
        with pytest.raises(InvalidKeyError, match="cannot be imported"):
            await provider.import_key("other", b"", KeyType.ED25519, PACKAGE, None, None)
        with pytest.raises(InvalidKeyError, match="It supports ED25519"):
            await provider.signer("gateway", 1, SigningAlgorithm.SHA256_ECDSA)

    asyncio.run(scenario())


def test_unknown_key_or_version_is_not_found(provider: RegisteredKeyProvider) -> None:
    async def scenario() -> None:
        await provider.generate("gateway", KeyType.ED25519, PACKAGE, "name")
        for operation in (
            provider.get_info("unknown"),
            provider.get_capabilities("unknown"),
            provider.rotate("unknown"),
            provider.signer("unknown", 1, SigningAlgorithm.ED25519),
            provider.signer("gateway", 2, SigningAlgorithm.ED25519),
            provider.signer("gateway", 0, SigningAlgorithm.ED25519),
            provider.import_certificate("gateway", 2, b""),
        ):
            with pytest.raises(NotFoundError):
                await operation
        with pytest.raises(AlreadyExistsError):
            await provider.generate("gateway", KeyType.ED25519, PACKAGE, "name")

    asyncio.run(scenario())


def test_unavailable_service_changes_nothing(
    provider: RegisteredKeyProvider, backend: MemoryBackend, tmp_path: Path
) -> None:
    async def scenario() -> None:
        info = await provider.generate("gateway", KeyType.ED25519, PACKAGE, "name")
        backend.is_available = False
        for operation in (
            provider.generate("other", KeyType.ED25519, PACKAGE, "name"),
            provider.register("gateway", KeyType.ED25519, PACKAGE, None),
            provider.rotate("gateway"),
            provider.probe(),
        ):
            with pytest.raises(KeyProviderUnavailableError):
                await operation
        assert await provider.get_info("gateway") == info

    asyncio.run(scenario())


def test_concurrent_rotations_make_distinct_versions(provider: RegisteredKeyProvider) -> None:
    async def scenario() -> None:
        await provider.generate("gateway", KeyType.ED25519, PACKAGE, "name")
        await asyncio.gather(*(provider.rotate("gateway") for _ in range(5)))
        info = await provider.get_info("gateway")
        assert [each.version for each in info.versions] == [1, 2, 3, 4, 5, 6]
        assert len({each.native_id for each in info.versions}) == 6

    asyncio.run(scenario())


def test_changed_record_is_rejected(backend: MemoryBackend, tmp_path: Path) -> None:
    async def scenario() -> None:
        folder = tmp_path / "records"
        provider = RegisteredKeyProvider("vault", backend, KeyRecords(folder, MASTER_KEY))
        await provider.generate("gateway", KeyType.ED25519, PACKAGE, "name")
        (path,) = folder.glob("*.json")
        content = path.read_bytes()
        for changed in (content.replace(b"generated", b"imported"), content[:-10], b"", b"{}"):
            path.write_bytes(changed)
            with pytest.raises(KeyStoreCorruptedError, match="vault:gateway"):
                await provider.signer("gateway", 1, SigningAlgorithm.ED25519)
        path.write_bytes(content)
        await provider.signer("gateway", 1, SigningAlgorithm.ED25519)
        other = RegisteredKeyProvider("vault", backend, KeyRecords(folder, bytes(32)))
        with pytest.raises(KeyStoreCorruptedError):
            await other.get_info("gateway")

    asyncio.run(scenario())


def test_unreadable_record_raises_storage_error(provider: RegisteredKeyProvider, tmp_path: Path) -> None:
    async def scenario() -> None:
        await provider.generate("gateway", KeyType.ED25519, PACKAGE, "name")
        (path,) = (tmp_path / "records").glob("*.json")
        path.unlink()
        path.mkdir()
        with pytest.raises(StorageError, match="reading the key records"):
            await provider.get_info("gateway")

    asyncio.run(scenario())
