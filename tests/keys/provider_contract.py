"""What every key provider promises. A test module gives a fixture ``provider`` and takes the class in."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from sealyard.crypto.algorithms import CIPHERS, SIGNATURES, SigningInput
from sealyard.crypto.certificates import compute_fingerprint, load_certificate
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.protocols import CipherStream
from sealyard.crypto.signatures import verify
from sealyard.keys.provider import KeyProvider
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.errors import ConflictError, InvalidInputError, InvalidKeyError, NotFoundError, UsageError
from tests.support.key_files import ALGORITHMS, PASSWORD, private_key, write_certificate, write_pem, write_pkcs12

AES_KEY = bytes(range(100, 132))
SIGNING_KINDS = [kind for kind in KeyType if not kind.symmetric]
SYMMETRIC_KINDS = [kind for kind in KeyType if kind.symmetric]
QUICK_KINDS = [KeyType.EC_P256, KeyType.ED25519]
PACKAGE = KeyPurpose.PACKAGE


def through(stream: CipherStream, data: bytes, chunk: int) -> bytes:
    """``data`` through ``stream``, ``chunk`` bytes at a time."""
    out = bytearray(chunk + 16)
    done = b""
    for start in range(0, len(data), chunk):
        part = data[start : start + chunk]
        done += bytes(out[: stream.update_into(memoryview(part), memoryview(out))])
    return done + stream.finalize()


async def import_file(
    provider: KeyProvider,
    path: Path,
    kind: KeyType,
    password: str | None = None,
    certificate: Path | None = None,
    name: str = "brought",
) -> object:
    return await provider.import_key(name, path, kind, PACKAGE, password, certificate)


class ProviderContract:
    """Run for each provider by a subclass named ``Test…``."""

    @pytest.mark.parametrize("kind", SIGNING_KINDS)
    def test_a_signing_key_is_generated_with_its_certificate(self, provider: KeyProvider, kind: KeyType) -> None:
        info = asyncio.run(provider.generate("made", kind, PACKAGE, "Gateway signing"))
        assert (info.kind, info.purpose, info.current.version, info.current.origin) == (kind, PACKAGE, 1, "generated")
        assert info.uri.endswith(":made")
        certificate = load_certificate((info.current.certificate or "").encode())
        assert (certificate.kind, certificate.subject) == (kind, "Gateway signing")
        assert certificate.not_after == info.current.certificate_expires_at
        public_key = load_pem_public_key((info.current.public_key or "").encode())
        assert (
            compute_fingerprint(public_key) == info.current.fingerprint == compute_fingerprint(certificate.public_key)
        )

    @pytest.mark.parametrize("kind", SYMMETRIC_KINDS)
    def test_a_symmetric_key_is_generated_without_public_values(self, provider: KeyProvider, kind: KeyType) -> None:
        info = asyncio.run(provider.generate("made", kind, PACKAGE, "anything"))
        assert (info.kind, len(info.current.fingerprint)) == (kind, 16)
        public = (info.current.public_key, info.current.certificate, info.current.certificate_expires_at)
        assert public == (None, None, None)

    @pytest.mark.parametrize("kind", SIGNING_KINDS)
    def test_every_algorithm_signs_what_its_public_key_verifies(
        self, provider: KeyProvider, kind: KeyType, tmp_path: Path
    ) -> None:
        async def scenario() -> None:
            await import_file(provider, write_pem(tmp_path / "key.pem", private_key(kind)), kind)
            for algorithm in ALGORITHMS[kind]:
                prehashed = SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST
                data = hashlib.sha256(b"message").digest() if prehashed else b"message"
                signer = await provider.signer("brought", 1, algorithm)
                signature = await signer.sign(data)
                public_key = private_key(kind).public_key()
                assert verify(public_key, algorithm, data, signature, prehashed=prehashed)
                assert not verify(public_key, algorithm, bytes(32), signature, prehashed=prehashed)

        asyncio.run(scenario())

    def test_a_digest_of_a_wrong_length_is_refused(self, provider: KeyProvider, tmp_path: Path) -> None:
        async def scenario() -> None:
            kind = KeyType.RSA_3072
            await import_file(provider, write_pem(tmp_path / "key.pem", private_key(kind)), kind)
            signer = await provider.signer("brought", 1, SigningAlgorithm.SHA256_RSA_3072_PSS)
            with pytest.raises(InvalidInputError):
                await signer.sign(b"a message, not a digest")

        asyncio.run(scenario())

    @pytest.mark.parametrize("algorithm", EncryptionAlgorithm)
    def test_a_cipher_gives_the_bytes_that_aes_gives(
        self, provider: KeyProvider, algorithm: EncryptionAlgorithm, tmp_path: Path
    ) -> None:
        async def scenario() -> None:
            spec = CIPHERS[algorithm]
            key = AES_KEY if spec.key_kind is KeyType.AES_256 else AES_KEY[:16]
            (tmp_path / "aes").write_bytes(key)
            await import_file(provider, tmp_path / "aes", spec.key_kind)
            cipher = await provider.cipher("brought", 1, algorithm)
            iv, plain = bytes(range(spec.iv_length)), bytes(range(256)) + b"rest"
            expected = through(AesCipher(algorithm, key).encryptor(iv), plain, 4096)
            for chunk in (7, 16, 100, 4096):
                assert through(cipher.encryptor(iv), plain, chunk) == expected
                assert through(cipher.decryptor(iv), expected, chunk)[: len(plain)] == plain

        asyncio.run(scenario())

    def test_two_streams_of_one_cipher_run_side_by_side(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            await provider.generate("made", KeyType.AES_256, PACKAGE, "")
            cipher = await provider.cipher("made", 1, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
            one, two = cipher.encryptor(bytes(16)), cipher.encryptor(bytes(16))
            out_one, out_two = bytearray(48), bytearray(48)
            for stream, out in ((one, out_one), (two, out_two)):
                assert stream.update_into(memoryview(bytes(32)), memoryview(out)) == 32
            assert (out_one, one.finalize()) == (out_two, two.finalize())

        asyncio.run(scenario())

    @pytest.mark.parametrize("kind", [*QUICK_KINDS, KeyType.AES_128])
    def test_rotation_makes_a_new_key_and_keeps_the_old_one(self, provider: KeyProvider, kind: KeyType) -> None:
        async def scenario() -> None:
            first = (await provider.generate("made", kind, PACKAGE, "Gateway signing")).current
            second = await provider.rotate("made")
            third = await provider.rotate("made")
            info = await provider.get_info("made")
            assert info.versions == (first, second, third)
            assert (info.kind, info.purpose) == (kind, PACKAGE)
            assert [each.version for each in info.versions] == [1, 2, 3]
            assert len({each.fingerprint for each in info.versions}) == 3

        asyncio.run(scenario())

    def test_each_version_signs_with_its_own_key(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            await provider.generate("made", KeyType.ED25519, PACKAGE, "Gateway signing")
            second = await provider.rotate("made")
            info = await provider.get_info("made")
            assert load_certificate((second.certificate or "").encode()).subject == "Gateway signing"
            for version in info.versions:
                signer = await provider.signer("made", version.version, SigningAlgorithm.ED25519)
                signature = await signer.sign(b"message")
                verified = [
                    verify(
                        load_pem_public_key((each.public_key or "").encode()),
                        SigningAlgorithm.ED25519,
                        b"message",
                        signature,
                        prehashed=False,
                    )
                    for each in info.versions
                ]
                assert verified == [each == version for each in info.versions]

        asyncio.run(scenario())

    @pytest.mark.parametrize("kind", SIGNING_KINDS)
    @pytest.mark.parametrize("file", ["pem", "encrypted pem", "pkcs12", "encrypted pkcs12"])
    def test_a_key_is_taken_from_each_kind_of_file(
        self, provider: KeyProvider, kind: KeyType, file: str, tmp_path: Path
    ) -> None:
        key, password = private_key(kind), PASSWORD if "encrypted" in file else None
        write = write_pkcs12 if "pkcs12" in file else write_pem
        info = asyncio.run(
            provider.import_key("brought", write(tmp_path / "key", key, password), kind, PACKAGE, password, None)
        )
        assert info.current.fingerprint == compute_fingerprint(key.public_key())
        assert (info.current.origin, info.current.version) == ("imported", 1)
        subject = load_certificate((info.current.certificate or "").encode()).subject
        assert subject == ("someone's PKI" if "pkcs12" in file else "brought")

    @pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
    def test_a_certificate_comes_with_its_key(self, provider: KeyProvider, encoding: Encoding, tmp_path: Path) -> None:
        key = private_key(KeyType.EC_P256)
        path, certificate = write_pem(tmp_path / "key", key), write_certificate(tmp_path / "crt", key, encoding)
        info = asyncio.run(provider.import_key("brought", path, KeyType.EC_P256, PACKAGE, None, certificate))
        assert load_certificate((info.current.certificate or "").encode()).subject == "someone's PKI"
        assert info.current.certificate_expires_at is not None
        assert info.current.certificate_expires_at - info.current.created_at < timedelta(days=365)

    def test_a_certificate_of_another_key_is_refused(self, provider: KeyProvider, tmp_path: Path) -> None:
        path = write_pem(tmp_path / "key", private_key(KeyType.EC_P256))
        certificate = write_certificate(tmp_path / "crt", private_key(KeyType.ED25519))
        with pytest.raises(InvalidKeyError, match="a different key"):
            asyncio.run(import_file(provider, path, KeyType.EC_P256, certificate=certificate))
        with pytest.raises(NotFoundError):
            asyncio.run(provider.get_info("brought"))

    def test_a_key_of_another_kind_than_said_is_refused(self, provider: KeyProvider, tmp_path: Path) -> None:
        path = write_pem(tmp_path / "key", private_key(KeyType.ED25519))
        with pytest.raises(InvalidKeyError, match="ED25519, not EC_P256"):
            asyncio.run(import_file(provider, path, KeyType.EC_P256))

    def test_a_name_is_given_once(self, provider: KeyProvider, tmp_path: Path) -> None:
        async def scenario() -> None:
            info = await provider.generate("made", KeyType.ED25519, PACKAGE, "first")
            with pytest.raises(ConflictError):
                await provider.generate("made", KeyType.ED25519, PACKAGE, "second")
            with pytest.raises(ConflictError):
                await import_file(
                    provider, write_pem(tmp_path / "k", private_key(KeyType.ED25519)), info.kind, name="made"
                )
            assert await provider.get_info("made") == info

        asyncio.run(scenario())

    def test_an_unknown_name_or_version_is_not_found(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            await provider.generate("signs", KeyType.ED25519, PACKAGE, "name")
            await provider.generate("encrypts", KeyType.AES_128, PACKAGE, "")
            ctr, ed25519 = EncryptionAlgorithm.AES128_CTR_NO_PAD, SigningAlgorithm.ED25519
            for unknown in (
                provider.get_info("nobody"),
                provider.rotate("nobody"),
                provider.signer("nobody", 1, ed25519),
                provider.cipher("nobody", 1, ctr),
                provider.export_symmetric("nobody", 1),
                provider.signer("signs", 2, ed25519),
                provider.signer("signs", 0, ed25519),
                provider.cipher("encrypts", 2, ctr),
            ):
                with pytest.raises(NotFoundError):
                    await unknown

        asyncio.run(scenario())

    @pytest.mark.parametrize("name", ["", "..", "a/b", "../a", "A", "ä", ".a", "a" * 65])
    def test_what_is_no_name_is_refused(self, provider: KeyProvider, name: str) -> None:
        with pytest.raises(UsageError):
            asyncio.run(provider.generate(name, KeyType.ED25519, PACKAGE, "name"))
        with pytest.raises(UsageError):
            asyncio.run(provider.get_info(name))

    def test_an_algorithm_that_does_not_fit_the_key_is_refused(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            await provider.generate("signs", KeyType.ED25519, PACKAGE, "name")
            await provider.generate("encrypts", KeyType.AES_128, PACKAGE, "")
            for unfit in (
                provider.signer("signs", 1, SigningAlgorithm.SHA256_ECDSA),
                provider.signer("encrypts", 1, SigningAlgorithm.ED25519),
                provider.cipher("encrypts", 1, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),
                provider.cipher("signs", 1, EncryptionAlgorithm.AES128_CTR_NO_PAD),
                provider.export_symmetric("signs", 1),
            ):
                with pytest.raises(InvalidKeyError):
                    await unfit

        asyncio.run(scenario())

    def test_a_symmetric_key_is_exported_or_refused_in_words(self, provider: KeyProvider, tmp_path: Path) -> None:
        (tmp_path / "aes").write_bytes(AES_KEY)
        asyncio.run(import_file(provider, tmp_path / "aes", KeyType.AES_256))
        try:
            exported = asyncio.run(provider.export_symmetric("brought", 1))
        except InvalidKeyError as error:
            exported = AES_KEY if error.hint else b""
        assert exported == AES_KEY
