"""The contract of key providers. A test module defines the fixture ``provider`` and a subclass of the contract."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key
from cryptography.x509 import load_pem_x509_csr

from sealyard.crypto.algorithms import SIGNATURES, SigningInput
from sealyard.crypto.certificates import compute_fingerprint, load_certificate
from sealyard.crypto.signatures import verify
from sealyard.keys.provider import KeyProvider
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.errors import ConflictError, InvalidInputError, InvalidKeyError, NotFoundError, UsageError
from sealyard.model.keys import KeyInfo
from tests.support.authority import Authority, encode_chain
from tests.support.key_files import ALGORITHMS, PASSWORD, private_key, write_certificate, write_pem, write_pkcs12

AES_KEY = bytes(range(100, 132))
SIGNING_KINDS = [kind for kind in KeyType if not kind.symmetric]
SYMMETRIC_KINDS = [kind for kind in KeyType if kind.symmetric]
QUICK_KINDS = [KeyType.EC_P256, KeyType.ED25519]
PACKAGE = KeyPurpose.PACKAGE


async def import_file(
    provider: KeyProvider,
    path: Path,
    kind: KeyType,
    password: str | None = None,
    certificate: Path | None = None,
    name: str = "imported-key",
) -> KeyInfo:
    certificate_content = certificate.read_bytes() if certificate is not None else None
    return await provider.import_key(name, path.read_bytes(), kind, PACKAGE, password, certificate_content)


class ProviderContract:
    """Run for each provider by a subclass named ``Test…``."""

    @pytest.mark.parametrize("kind", SIGNING_KINDS)
    def test_generated_signing_key_has_certificate(self, provider: KeyProvider, kind: KeyType) -> None:
        info = asyncio.run(provider.generate("generated-key", kind, PACKAGE, "Gateway signing"))
        assert (info.kind, info.purpose, info.current.version, info.current.origin) == (kind, PACKAGE, 1, "generated")
        assert info.uri.endswith(":generated-key")
        certificate = load_certificate((info.current.certificate or "").encode())
        assert (certificate.kind, certificate.subject) == (kind, "Gateway signing")
        assert certificate.not_after == info.current.certificate_expires_at
        assert certificate.not_before == info.current.certificate_valid_from
        public_key = load_pem_public_key((info.current.public_key or "").encode())
        assert (
            compute_fingerprint(public_key) == info.current.fingerprint == compute_fingerprint(certificate.public_key)
        )

    @pytest.mark.parametrize("kind", SYMMETRIC_KINDS)
    def test_generated_symmetric_key_has_no_public_values(self, provider: KeyProvider, kind: KeyType) -> None:
        info = asyncio.run(provider.generate("generated-key", kind, PACKAGE, "anything"))
        assert (info.kind, len(info.current.fingerprint)) == (kind, 16)
        public = (info.current.public_key, info.current.certificate, info.current.certificate_expires_at)
        assert public == (None, None, None)

    @pytest.mark.parametrize("kind", SIGNING_KINDS)
    def test_signature_verifies_with_public_key(self, provider: KeyProvider, kind: KeyType, tmp_path: Path) -> None:
        async def scenario() -> None:
            await import_file(provider, write_pem(tmp_path / "key.pem", private_key(kind)), kind)
            for algorithm in ALGORITHMS[kind]:
                prehashed = SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST
                data = hashlib.sha256(b"message").digest() if prehashed else b"message"
                signer = await provider.signer("imported-key", 1, algorithm)
                signature = await signer.sign(data)
                public_key = private_key(kind).public_key()
                assert verify(public_key, algorithm, data, signature, prehashed=prehashed)
                assert not verify(public_key, algorithm, bytes(32), signature, prehashed=prehashed)

        asyncio.run(scenario())

    def test_sign_digest_of_wrong_length_raises(self, provider: KeyProvider, tmp_path: Path) -> None:
        async def scenario() -> None:
            kind = KeyType.RSA_3072
            await import_file(provider, write_pem(tmp_path / "key.pem", private_key(kind)), kind)
            signer = await provider.signer("imported-key", 1, SigningAlgorithm.SHA256_RSA_3072_PSS)
            with pytest.raises(InvalidInputError):
                await signer.sign(b"a message, not a digest")

        asyncio.run(scenario())

    @pytest.mark.parametrize("kind", [*QUICK_KINDS, KeyType.AES_128])
    def test_rotation_adds_a_version(self, provider: KeyProvider, kind: KeyType) -> None:
        async def scenario() -> None:
            first = (await provider.generate("generated-key", kind, PACKAGE, "Gateway signing")).current
            second = await provider.rotate("generated-key")
            third = await provider.rotate("generated-key")
            info = await provider.get_info("generated-key")
            assert info.versions == (first, second, third)
            assert (info.kind, info.purpose) == (kind, PACKAGE)
            assert [each.version for each in info.versions] == [1, 2, 3]
            assert len({each.fingerprint for each in info.versions}) == 3

        asyncio.run(scenario())

    def test_version_signs_with_its_own_key(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            await provider.generate("generated-key", KeyType.ED25519, PACKAGE, "Gateway signing")
            second = await provider.rotate("generated-key")
            info = await provider.get_info("generated-key")
            assert load_certificate((second.certificate or "").encode()).subject == "Gateway signing"
            for version in info.versions:
                signer = await provider.signer("generated-key", version.version, SigningAlgorithm.ED25519)
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
    def test_renewed_certificate_makes_version_with_same_key(
        self, provider: KeyProvider, kind: KeyType, tmp_path: Path
    ) -> None:
        async def scenario() -> None:
            key = private_key(kind)
            await import_file(provider, write_pem(tmp_path / "key", key), kind)
            version = await provider.import_certificate(
                "imported-key", 1, write_certificate(tmp_path / "crt", key).read_bytes()
            )
            first, second = (await provider.get_info("imported-key")).versions
            assert second == version
            assert (second.version, second.origin, second.fingerprint) == (2, "renewed", first.fingerprint)
            assert load_certificate((first.certificate or "").encode()).subject == "imported-key"
            certificate = load_certificate((second.certificate or "").encode())
            assert certificate.subject == "company PKI"
            assert certificate.not_after == second.certificate_expires_at
            algorithm = ALGORITHMS[kind][0]
            prehashed = SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST
            data = hashlib.sha256(b"message").digest()
            for number in (1, 2):
                signature = await (await provider.signer("imported-key", number, algorithm)).sign(data)
                assert verify(certificate.public_key, algorithm, data, signature, prehashed=prehashed)

        asyncio.run(scenario())

    def test_chain_is_recorded_without_its_root(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            key = (await provider.generate("generated-key", KeyType.EC_P256, PACKAGE, "name")).current
            root = Authority("root")
            issuer = Authority("issuer", root)
            leaf = issuer.issue(load_certificate((key.certificate or "").encode()).public_key)
            content = encode_chain(root.certificate, leaf, issuer.certificate)
            version = await provider.import_certificate("generated-key", 1, content)
            assert "".join(version.certificate_chain).encode() == encode_chain(leaf, issuer.certificate)
            assert [each.subject for each in version.issuer_certificates] == ["CN=issuer"]
            assert await provider.import_certificate("generated-key", 1, content) == version
            signer = await provider.signer("generated-key", 2, SigningAlgorithm.SHA256_ECDSA)
            signature = await signer.sign(b"message")
            public_key = load_pem_public_key((key.public_key or "").encode())
            assert verify(public_key, SigningAlgorithm.SHA256_ECDSA, b"message", signature, prehashed=False)
            without_chain = await provider.import_certificate("generated-key", 2, encode_chain(leaf))
            assert (without_chain.version, without_chain.issuer_certificates) == (3, ())
            assert (await provider.get_info("generated-key")).versions == (key, version, without_chain)

        asyncio.run(scenario())

    def test_invalid_chain_is_not_imported(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            info = await provider.generate("generated-key", KeyType.EC_P256, PACKAGE, "name")
            root = Authority("root")
            issuer = Authority("issuer", root)
            leaf = issuer.issue(load_certificate((info.current.certificate or "").encode()).public_key)
            expired = issuer.issue(leaf.public_key(), days=1)
            for certificates in ((leaf, root.certificate), (expired, issuer.certificate)):
                with pytest.raises(InvalidKeyError):
                    await provider.import_certificate("generated-key", 1, encode_chain(*certificates))
            assert await provider.get_info("generated-key") == info

        asyncio.run(scenario())

    def test_certificate_of_another_key_is_not_imported(self, provider: KeyProvider, tmp_path: Path) -> None:
        async def scenario() -> None:
            info = await provider.generate("generated-key", KeyType.ED25519, PACKAGE, "name")
            await provider.generate("encrypts", KeyType.AES_128, PACKAGE, "")
            path = write_certificate(tmp_path / "crt", private_key(KeyType.ED25519))
            for name, version, error in (
                ("generated-key", 1, InvalidKeyError),
                ("encrypts", 1, InvalidKeyError),
                ("generated-key", 2, NotFoundError),
                ("unknown", 1, NotFoundError),
            ):
                with pytest.raises(error):
                    await provider.import_certificate(name, version, path.read_bytes())
            assert await provider.get_info("generated-key") == info

        asyncio.run(scenario())

    def test_repeated_import_of_certificate_returns_its_version(self, provider: KeyProvider, tmp_path: Path) -> None:
        async def scenario() -> None:
            key = private_key(KeyType.EC_P256)
            path = write_certificate(tmp_path / "crt", key)
            await import_file(provider, write_pem(tmp_path / "key", key), KeyType.EC_P256)
            version = await provider.import_certificate("imported-key", 1, path.read_bytes())
            assert await provider.import_certificate("imported-key", 1, path.read_bytes()) == version
            assert await provider.import_certificate("imported-key", 2, path.read_bytes()) == version
            assert (await provider.get_info("imported-key")).current == version

        asyncio.run(scenario())

    @pytest.mark.parametrize("kind", SIGNING_KINDS)
    def test_certificate_request_is_signed_by_the_key(self, provider: KeyProvider, kind: KeyType) -> None:
        async def scenario() -> None:
            info = await provider.generate("generated-key", kind, PACKAGE, "Gateway signing")
            request = load_pem_x509_csr((await provider.create_certificate_request("generated-key", 1)).encode())
            assert request.is_signature_valid
            assert compute_fingerprint(request.public_key()) == info.current.fingerprint
            assert request.subject.rfc4514_string() == "CN=Gateway signing"
            await provider.generate("encrypts", KeyType.AES_128, PACKAGE, "")
            with pytest.raises(InvalidKeyError):
                await provider.create_certificate_request("encrypts", 1)
            with pytest.raises(NotFoundError):
                await provider.create_certificate_request("generated-key", 2)

        asyncio.run(scenario())

    @pytest.mark.parametrize(
        ("file", "kind"),
        [
            *((file, kind) for file in ("pem", "encrypted pem") for kind in SIGNING_KINDS),
            # cryptography does not write ML-DSA keys to PKCS#12 files.
            *(
                (file, kind)
                for file in ("pkcs12", "encrypted pkcs12")
                for kind in SIGNING_KINDS
                if "ML_DSA" not in kind
            ),
        ],
    )
    def test_import_reads_each_file_format(
        self, provider: KeyProvider, kind: KeyType, file: str, tmp_path: Path
    ) -> None:
        key, password = private_key(kind), PASSWORD if "encrypted" in file else None
        write = write_pkcs12 if "pkcs12" in file else write_pem
        info = asyncio.run(import_file(provider, write(tmp_path / "key", key, password), kind, password))
        assert info.current.fingerprint == compute_fingerprint(key.public_key())
        assert (info.current.origin, info.current.version) == ("imported", 1)
        subject = load_certificate((info.current.certificate or "").encode()).subject
        assert subject == ("company PKI" if "pkcs12" in file else "imported-key")

    @pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
    def test_import_with_certificate_stores_it(self, provider: KeyProvider, encoding: Encoding, tmp_path: Path) -> None:
        key = private_key(KeyType.EC_P256)
        path, certificate = write_pem(tmp_path / "key", key), write_certificate(tmp_path / "crt", key, encoding)
        info = asyncio.run(
            provider.import_key(
                "imported-key", path.read_bytes(), KeyType.EC_P256, PACKAGE, None, certificate.read_bytes()
            )
        )
        assert load_certificate((info.current.certificate or "").encode()).subject == "company PKI"
        assert info.current.certificate_expires_at is not None
        assert info.current.certificate_expires_at - info.current.created_at < timedelta(days=365)

    def test_import_with_foreign_certificate_is_rejected(self, provider: KeyProvider, tmp_path: Path) -> None:
        path = write_pem(tmp_path / "key", private_key(KeyType.EC_P256))
        certificate = write_certificate(tmp_path / "crt", private_key(KeyType.ED25519))
        with pytest.raises(InvalidKeyError, match="a different key"):
            asyncio.run(import_file(provider, path, KeyType.EC_P256, certificate=certificate))
        with pytest.raises(NotFoundError):
            asyncio.run(provider.get_info("imported-key"))

    def test_import_of_another_key_type_is_rejected(self, provider: KeyProvider, tmp_path: Path) -> None:
        path = write_pem(tmp_path / "key", private_key(KeyType.ED25519))
        with pytest.raises(InvalidKeyError, match="ED25519, not EC_P256"):
            asyncio.run(import_file(provider, path, KeyType.EC_P256))

    def test_duplicate_name_raises_conflict(self, provider: KeyProvider, tmp_path: Path) -> None:
        async def scenario() -> None:
            info = await provider.generate("generated-key", KeyType.ED25519, PACKAGE, "first")
            with pytest.raises(ConflictError):
                await provider.generate("generated-key", KeyType.ED25519, PACKAGE, "second")
            with pytest.raises(ConflictError):
                await import_file(
                    provider, write_pem(tmp_path / "k", private_key(KeyType.ED25519)), info.kind, name="generated-key"
                )
            assert await provider.get_info("generated-key") == info

        asyncio.run(scenario())

    def test_unknown_name_or_version_is_not_found(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            await provider.generate("signs", KeyType.ED25519, PACKAGE, "name")
            await provider.generate("encrypts", KeyType.AES_128, PACKAGE, "")
            ctr, ed25519 = EncryptionAlgorithm.AES128_CTR_NO_PAD, SigningAlgorithm.ED25519
            for operation in (
                provider.get_info("unknown"),
                provider.rotate("unknown"),
                provider.signer("unknown", 1, ed25519),
                provider.cipher("unknown", 1, ctr),
                provider.export_symmetric("unknown", 1),
                provider.signer("signs", 2, ed25519),
                provider.signer("signs", 0, ed25519),
                provider.cipher("encrypts", 2, ctr),
            ):
                with pytest.raises(NotFoundError):
                    await operation

        asyncio.run(scenario())

    @pytest.mark.parametrize("name", ["", "..", "a/b", "../a", "A", "ä", ".a", "a" * 65])
    def test_invalid_name_is_rejected(self, provider: KeyProvider, name: str) -> None:
        with pytest.raises(UsageError):
            asyncio.run(provider.generate(name, KeyType.ED25519, PACKAGE, "name"))
        with pytest.raises(UsageError):
            asyncio.run(provider.get_info(name))

    def test_algorithm_of_another_key_type_is_rejected(self, provider: KeyProvider) -> None:
        async def scenario() -> None:
            await provider.generate("signs", KeyType.ED25519, PACKAGE, "name")
            await provider.generate("encrypts", KeyType.AES_128, PACKAGE, "")
            for operation in (
                provider.signer("signs", 1, SigningAlgorithm.SHA256_ECDSA),
                provider.signer("encrypts", 1, SigningAlgorithm.ED25519),
                provider.cipher("encrypts", 1, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),
                provider.cipher("signs", 1, EncryptionAlgorithm.AES128_CTR_NO_PAD),
                provider.export_symmetric("signs", 1),
            ):
                with pytest.raises(InvalidKeyError):
                    await operation

        asyncio.run(scenario())

    def test_export_returns_key_or_explains_refusal(self, provider: KeyProvider, tmp_path: Path) -> None:
        (tmp_path / "aes").write_bytes(AES_KEY)
        asyncio.run(import_file(provider, tmp_path / "aes", KeyType.AES_256))
        try:
            exported = asyncio.run(provider.export_symmetric("imported-key", 1))
        except InvalidKeyError as error:
            exported = AES_KEY if error.hint else b""
        assert exported == AES_KEY
