"""Tests of keys in PKCS#11 tokens: attributes, mechanisms, certificates, and wrapped secrets."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path
from typing import cast

import pkcs11
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from pkcs11 import Attribute, Mechanism, ObjectClass

from sealyard.crypto.algorithms import SIGNATURES
from sealyard.crypto.signatures import verify
from sealyard.keys.backends.pkcs11 import signing, wrapping
from sealyard.keys.backends.pkcs11.backend import Pkcs11Backend
from sealyard.keys.backends.pkcs11.mechanisms import read_mechanisms
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidKeyError, KeyProviderError
from tests.support.key_files import certificate_for, private_key, write_pem
from tests.support.pkcs11_scenarios import (
    ECDSA,
    NAME,
    change_token,
    generate_p256,
    use_backend,
)
from tests.support.softhsm import (
    SoftHsm,
    own_softhsm,
    require_softhsm,
    set_environment,
)

__all__ = ["own_softhsm"]

SECRET = b"a canary among device keys".ljust(32, b".")
AES_KEY = bytes(range(32))


# ---- mechanisms and attributes of keys


def test_key_without_sign_has_no_algorithms(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        await change_token(backend, lambda session: generate_p256(session, sign=False))
        key = await backend.describe(NAME)
        assert (key.capabilities.algorithms, key.capabilities.digests) == ((), ())
        assert await backend.list_keys() == ()
        with pytest.raises(InvalidKeyError, match="cannot sign a message"):
            await backend.sign(NAME, key.native_id, ECDSA, b"message", None)

    use_backend(scenario)


def test_allowed_mechanisms_restrict_key(own_softhsm: SoftHsm) -> None:
    own_softhsm.run_tool(
        *("--keypairgen", "--key-type", "rsa:3072", "--label", "gateway-sign", "--id", "01"),
        *("--allowed-mechanisms", "RSA-PKCS,SHA256-RSA-PKCS-PSS"),
    )

    async def scenario(backend: Pkcs11Backend) -> None:
        key = await backend.describe(NAME)
        assert set(key.capabilities.algorithms) == {
            SigningAlgorithm.RSA_3072,
            SigningAlgorithm.SHA256_PSS,
            SigningAlgorithm.SHA256_PKCS_V15_3072,
        }
        assert key.capabilities.digests == ()
        assert key.public_key is not None
        public_key = load_pem_public_key(key.public_key.encode())
        for algorithm in key.capabilities.algorithms:
            signature = await backend.sign(NAME, key.native_id, algorithm, b"message", None)
            assert verify(public_key, algorithm, b"message", signature, prehashed=False)
        for algorithm, digest in ((SigningAlgorithm.SHA512_PSS, None), (SigningAlgorithm.SHA256_PSS, HashName.SHA256)):
            data = b"message" if digest is None else bytes(32)
            with pytest.raises(InvalidKeyError, match="cannot sign a"):
                await backend.sign(NAME, key.native_id, algorithm, data, digest)

    use_backend(scenario)


def test_key_with_login_for_each_signature_signs(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        await change_token(backend, lambda session: generate_p256(session, always_authenticate=True))
        key = await backend.describe(NAME)
        assert key.public_key is not None
        for message in (b"one", b"two"):
            signature = await backend.sign(NAME, key.native_id, ECDSA, message, None)
            public_key = load_pem_public_key(key.public_key.encode())
            assert verify(public_key, ECDSA, message, signature, prehashed=False)

    use_backend(scenario)


def test_token_without_mechanisms_refuses_key_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_softhsm()
    hsm = SoftHsm(tmp_path, "CKM_EC_KEY_PAIR_GEN", "CKM_EC_EDWARDS_KEY_PAIR_GEN", "CKM_AES_GCM", "CKM_AES_KEY_WRAP")
    hsm.create_token()
    set_environment(monkeypatch, hsm.environment)

    async def scenario(backend: Pkcs11Backend) -> None:
        for kind in (KeyType.EC_P256, KeyType.ED25519):
            with pytest.raises(InvalidKeyError, match=f"cannot generate a key of type {kind}") as caught:
                await backend.generate(NAME, kind)
            assert "RSA_2048" in caught.value.hint
        with pytest.raises(InvalidKeyError, match="cannot generate"):
            await backend.generate(NAME, KeyType.AES_256)

    use_backend(scenario)


# ---- public keys and certificates


def store_certificate(session: pkcs11.Session, certificate: x509.Certificate) -> None:
    session.create_object(
        {
            Attribute.CLASS: ObjectClass.CERTIFICATE,
            Attribute.CERTIFICATE_TYPE: pkcs11.CertificateType.X_509,
            Attribute.TOKEN: True,
            Attribute.ID: b"\1",
            Attribute.SUBJECT: certificate.subject.public_bytes(),
            Attribute.VALUE: certificate.public_bytes(Encoding.DER),
        }
    )


def import_key(hsm: SoftHsm, path: Path, kind: KeyType) -> None:
    """Import a known private key as ``NAME``."""
    write_pem(path, private_key(kind))
    hsm.import_key(path, "gateway-sign", "01")


def test_stored_certificate_is_returned(own_softhsm: SoftHsm, tmp_path: Path) -> None:
    key = private_key(KeyType.EC_P256)
    certificates = [certificate_for(key, days=days) for days in (100, 300, 200)]
    certificates.append(certificate_for(private_key(KeyType.RSA_2048), days=400))
    import_key(own_softhsm, tmp_path / "key.pem", KeyType.EC_P256)

    async def scenario(backend: Pkcs11Backend) -> None:
        assert (await backend.describe(NAME)).certificate is None
        for certificate in certificates:
            await change_token(backend, partial(store_certificate, certificate=certificate))
        described = await backend.describe(NAME)
        assert described.certificate == certificates[1].public_bytes(Encoding.PEM).decode()

    use_backend(scenario)


def test_public_key_is_read_from_certificate(own_softhsm: SoftHsm, tmp_path: Path) -> None:
    key = private_key(KeyType.EC_P256)
    certificate = certificate_for(key)
    import_key(own_softhsm, tmp_path / "key.pem", KeyType.EC_P256)
    own_softhsm.run_tool("--delete-object", "--type", "pubkey", "--id", "01")

    async def scenario(backend: Pkcs11Backend) -> None:
        with pytest.raises(InvalidKeyError, match="has no public key for"):
            await backend.describe(NAME)
        await change_token(backend, partial(store_certificate, certificate=certificate))
        expected = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        assert (await backend.describe(NAME)).public_key == expected

    use_backend(scenario)


def test_several_public_keys_are_refused(own_softhsm: SoftHsm) -> None:
    for label in ("gateway-sign", "other"):
        own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", label, "--id", "01")
    own_softhsm.run_tool("--delete-object", "--type", "privkey", "--label", "other")

    async def scenario(backend: Pkcs11Backend) -> None:
        assert (await backend.describe(NAME)).public_key

        def rename(session: pkcs11.Session) -> None:
            for public_key in list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY})):
                public_key[Attribute.LABEL] = "renamed"

        await change_token(backend, rename)
        with pytest.raises(InvalidKeyError, match="several public keys"):
            await backend.describe(NAME)

    use_backend(scenario)


# ---- known values


@pytest.mark.parametrize("kind", [KeyType.RSA_2048, KeyType.RSA_3072, KeyType.EC_P256, KeyType.ED25519])
def test_imported_key_is_described(own_softhsm: SoftHsm, tmp_path: Path, kind: KeyType) -> None:
    key = private_key(kind)
    import_key(own_softhsm, tmp_path / "key.pem", kind)

    async def scenario(backend: Pkcs11Backend) -> None:
        described = await backend.describe(NAME)
        expected = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        assert (described.kind, described.public_key, described.native_id) == (kind, expected, "01")
        for algorithm in described.capabilities.algorithms:
            hash_name = SIGNATURES[algorithm].hash
            data = hashlib.new(hash_name, b"message").digest() if hash_name else b"message"
            signature = await backend.sign(NAME, "01", algorithm, data, hash_name)
            assert verify(key.public_key(), algorithm, data, signature, prehashed=hash_name is not None)

    use_backend(scenario)


def store_aes_key(session: pkcs11.Session) -> None:
    flags = (Attribute.ENCRYPT, Attribute.DECRYPT, Attribute.WRAP, Attribute.UNWRAP, Attribute.TOKEN)
    session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: pkcs11.KeyType.AES,
            Attribute.LABEL: "gateway-sign",
            Attribute.ID: b"\1",
            Attribute.VALUE: AES_KEY,
            **dict.fromkeys(flags, True),
        }
    )


def test_token_form_is_documented(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        await change_token(backend, store_aes_key)
        wrapped = await backend.wrap(NAME, "01", SECRET, b"context")
        assert wrapped[:1] == b"\x01"
        assert AESGCM(AES_KEY).decrypt(wrapped[1:13], wrapped[13:], b"\x01context") == SECRET

    use_backend(scenario)


def test_data_key_form_is_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_softhsm()
    hsm = SoftHsm(tmp_path, "CKM_AES_GCM")
    hsm.create_token()
    set_environment(monkeypatch, hsm.environment)

    async def scenario(backend: Pkcs11Backend) -> None:
        await change_token(backend, store_aes_key)
        wrapped = await backend.wrap(NAME, "01", SECRET, b"context")
        assert wrapped[:1] == b"\x02"
        data_key = aes_key_unwrap(AES_KEY, wrapped[1:41])
        assert AESGCM(data_key).decrypt(wrapped[41:53], wrapped[53:], b"\x02context") == SECRET
        other = await backend.wrap(NAME, "01", SECRET, b"context")
        with pytest.raises(InvalidKeyError):
            await backend.unwrap(NAME, "01", wrapped[:41] + other[41:], b"context")
        objects = await change_token(backend, lambda session: len(list(session.get_objects({}))))
        assert objects == 1

    use_backend(scenario)


def test_unreliable_wrapping_is_detected(own_softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrapping, "_unwrap_in_token", lambda *_: b"other")

    async def scenario(backend: Pkcs11Backend) -> None:
        name, key = await backend.generate(NAME, KeyType.AES_256)
        with pytest.raises(KeyProviderError, match="does not unwrap what it wrapped"):
            await backend.wrap(name, key.native_id, SECRET, b"context")

    use_backend(scenario)


def test_short_ecdsa_signature_is_refused(own_softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "_P256_NUMBER_LENGTH", 31)

    async def scenario(backend: Pkcs11Backend) -> None:
        name, key = await backend.generate(NAME, KeyType.EC_P256)
        with pytest.raises(KeyProviderError, match="a signature of 64 bytes"):
            await backend.sign(name, key.native_id, ECDSA, b"message", None)

    use_backend(scenario)


def test_mechanisms_of_other_manufacturers_are_ignored() -> None:
    class Slot:
        def get_mechanisms(self) -> set[int]:
            return {Mechanism.ECDSA, 0x80000001}

        def get_mechanism_info(self, mechanism: int) -> str:
            return f"info of {mechanism:d}"

    infos = read_mechanisms(cast(pkcs11.Slot, Slot()))
    assert [(mechanism, str(info)) for mechanism, info in infos.items()] == [(Mechanism.ECDSA, "info of 4161")]
