"""Tests of keys in PKCS#11 tokens: names, versions, attributes, mechanisms, certificates, and wrapped secrets."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import pkcs11
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from pkcs11 import Attribute, Mechanism, ObjectClass

from sealyard.crypto.algorithms import SIGNATURES
from sealyard.crypto.signatures import verify
from sealyard.keys.backends.pkcs11 import generation, signing, wrapping
from sealyard.keys.backends.pkcs11.backend import Pkcs11Backend
from sealyard.keys.backends.pkcs11.connection import TokenSession
from sealyard.keys.backends.pkcs11.mechanisms import read_mechanisms
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidKeyError, KeyProviderError, NotFoundError, UsageError
from tests.support.key_files import certificate_for, private_key, write_pem
from tests.support.softhsm import (
    PIN,
    TOKEN,
    SoftHsm,
    make_secrets,
    make_settings,
    opened_backend,
    own_softhsm,
    require_softhsm,
    set_environment,
    shared_softhsm,
    softhsm,
)

__all__ = ["own_softhsm", "shared_softhsm", "softhsm"]

T = TypeVar("T")
NAME = f"token={TOKEN};object=gateway-sign"
ECDSA = SigningAlgorithm.SHA256_ECDSA
SECRET = b"a canary among device keys".ljust(32, b".")
AES_KEY = bytes(range(32))


def use_backend(scenario: Callable[[Pkcs11Backend], Awaitable[T]], **options: Any) -> T:
    """Run ``scenario`` with a backend of the token."""

    async def run() -> T:
        async with opened_backend(make_settings(**options), make_secrets()) as backend:
            return await scenario(backend)

    return asyncio.run(run())


async def change_token(backend: Pkcs11Backend, change: Callable[[pkcs11.Session], T]) -> T:
    """Run ``change`` with a session of python-pkcs11 that can write."""

    def run(session: TokenSession) -> T:
        return change(session.session)

    return await backend._connection.run("change the token", run, writes=True)


# ---- names and versions


def test_versions_are_ordered_by_identifier(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        name, first = await backend.generate(NAME, KeyType.EC_P256)
        keys = [first, *[await backend.rotate(name) for _ in range(3)]]
        assert [key.native_id[-4:] for key in keys] == ["0001", "0002", "0003", "0004"]
        assert len({key.native_id[:-4] for key in keys}) == 1
        assert await backend.describe(name) == keys[-1]
        assert [listed.name for listed in await backend.list_keys()] == [name]

    use_backend(scenario)


def test_concurrent_changes_make_separate_versions(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        results = await asyncio.gather(
            *(backend.generate(NAME, KeyType.EC_P256) for _ in range(3)), return_exceptions=True
        )
        assert sorted(type(result).__name__ for result in results) == ["AlreadyExistsError"] * 2 + ["tuple"]
        versions = await asyncio.gather(*(backend.rotate(NAME) for _ in range(6)))
        assert sorted(int(version.native_id[-4:], 16) for version in versions) == [2, 3, 4, 5, 6, 7]

    use_backend(scenario)


def test_identifier_names_one_version(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        _, first = await backend.generate(NAME, KeyType.EC_P256)
        second = await backend.rotate(NAME)
        encoded_id = "".join(f"%{byte:02X}" for byte in bytes.fromhex(first.native_id))
        canonical_name = f"{NAME};id={encoded_id}"
        for name in (f"token={TOKEN};id={encoded_id}", canonical_name, f"{canonical_name};type=private"):
            assert await backend.resolve(name) == canonical_name
            described = await backend.describe(name)
            assert (described.public_key, described.capabilities.can_rotate) == (first.public_key, False)
        with pytest.raises(InvalidKeyError, match="cannot be rotated"):
            await backend.rotate(canonical_name)
        with pytest.raises(NotFoundError):
            await backend.sign(canonical_name, second.native_id, ECDSA, b"message", None)
        with pytest.raises(InvalidKeyError, match="must not contain an id"):
            await backend.generate(f"{NAME};id=%01", KeyType.EC_P256)

    use_backend(scenario)


def test_attributes_of_token_are_checked_and_omitted(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        await backend.generate(NAME, KeyType.EC_P256)
        matching_name = f"{NAME};manufacturer=SoftHSM%20project;model=SoftHSM%20v2"
        assert await backend.resolve(matching_name) == NAME
        for attribute in ("manufacturer", "model", "serial"):
            with pytest.raises(NotFoundError, match=f"its {attribute} is"):
                await backend.resolve(f"{NAME};{attribute}=other")
        with pytest.raises(NotFoundError, match="its token is seal"):
            await backend.resolve("token=other;object=gateway-sign")
        with pytest.raises(UsageError):
            await backend.resolve(f"{NAME}?pin-value={PIN}")

    use_backend(scenario)


def test_unrelated_keys_with_one_label_are_ambiguous(own_softhsm: SoftHsm) -> None:
    for identifier in ("01aaaaaa", "02bbbbbb"):
        arguments = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign", "--id", identifier]
        own_softhsm.run_tool(*arguments)

    async def scenario(backend: Pkcs11Backend) -> None:
        for operation in (backend.resolve(NAME), backend.describe(NAME), backend.rotate(NAME)):
            with pytest.raises(InvalidKeyError, match="ambiguous: the token seal has 2 keys"):
                await operation
        names = [listed.name for listed in await backend.list_keys()]
        assert names == [f"{NAME};id=%01%AA%AA%AA", f"{NAME};id=%02%BB%BB%BB"]
        for name in names:
            assert await backend.resolve(name) == name
            key = await backend.describe(name)
            assert await backend.sign(name, key.native_id, ECDSA, b"message", None)

    use_backend(scenario)


def test_version_is_used_despite_other_keys_with_its_label(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        _, key = await backend.generate(NAME, KeyType.EC_P256)
        arguments = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign", "--id", "01"]
        own_softhsm.run_tool(*arguments)
        for native_id in (key.native_id, "01"):
            assert await backend.sign(NAME, native_id, ECDSA, b"message", None)
        for native_id in ("", "02", "not hexadecimal"):
            with pytest.raises(NotFoundError):
                await backend.sign(NAME, native_id, ECDSA, b"message", None)
        with pytest.raises(InvalidKeyError, match="ambiguous"):
            await backend.describe(NAME)

    use_backend(scenario)


def test_keys_with_one_label_and_identifier_are_ambiguous(own_softhsm: SoftHsm) -> None:
    for _ in range(2):
        arguments = ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign", "--id", "01"]
        own_softhsm.run_tool(*arguments)

    async def scenario(backend: Pkcs11Backend) -> None:
        assert await backend.list_keys() == ()
        for operation in (
            backend.describe(NAME),
            backend.describe(f"{NAME};id=%01"),
            backend.sign(NAME, "01", ECDSA, b"message", None),
        ):
            with pytest.raises(InvalidKeyError, match="ambiguous"):
                await operation

    use_backend(scenario)


def test_keys_of_other_tools_are_rotated(own_softhsm: SoftHsm) -> None:
    own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign", "--id", "fe")
    own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "other", "--id", "01")

    async def scenario(backend: Pkcs11Backend) -> None:
        assert (await backend.describe(NAME)).native_id == "fe"
        assert (await backend.rotate(NAME)).native_id == "ff"
        with pytest.raises(InvalidKeyError, match="no CKA_ID after ff"):
            await backend.rotate(NAME)
        other_name = f"token={TOKEN};object=other"
        assert (await backend.rotate(other_name)).native_id == "02"

    use_backend(scenario)


def test_used_identifiers_are_skipped(own_softhsm: SoftHsm) -> None:
    for label, identifier in (("gateway-sign", "01"), ("other", "02")):
        own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", label, "--id", identifier)

    async def scenario(backend: Pkcs11Backend) -> None:
        assert (await backend.rotate(NAME)).native_id == "03"

    use_backend(scenario)


def test_keys_without_identifier_are_refused(own_softhsm: SoftHsm) -> None:
    own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign")

    async def scenario(backend: Pkcs11Backend) -> None:
        with pytest.raises(InvalidKeyError, match="has no CKA_ID"):
            await backend.describe(NAME)
        assert await backend.list_keys() == ()

    use_backend(scenario)


def test_public_key_alone_is_no_key(own_softhsm: SoftHsm) -> None:
    own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", "gateway-sign", "--id", "01")
    own_softhsm.run_tool("--delete-object", "--type", "privkey", "--id", "01")

    async def scenario(backend: Pkcs11Backend) -> None:
        with pytest.raises(NotFoundError) as caught:
            await backend.describe(NAME)
        assert "the private key must be in the token" in caught.value.hint

    use_backend(scenario)


def test_unsupported_keys_are_not_listed(own_softhsm: SoftHsm) -> None:
    for number, key_type in enumerate(("EC:secp384r1", "rsa:1024", "AES:16"), start=1):
        action = "--keygen" if key_type.startswith("AES") else "--keypairgen"
        own_softhsm.run_tool(action, "--key-type", key_type, "--label", "gateway-sign", "--id", f"0{number}")

    async def scenario(backend: Pkcs11Backend) -> None:
        assert await backend.list_keys() == ()
        for number in (1, 2):
            with pytest.raises(InvalidKeyError, match="not supported"):
                await backend.describe(f"{NAME};id=%0{number}")
        key = await backend.describe(f"{NAME};id=%03")
        assert (key.kind, key.capabilities.can_wrap) == (KeyType.AES_128, False)

    use_backend(scenario)


@pytest.mark.parametrize("label", ["güteprüfung", "a\u00a0b", "a;b=c%20d"])
def test_labels_of_other_characters_are_encoded(own_softhsm: SoftHsm, label: str) -> None:
    own_softhsm.run_tool("--keypairgen", "--key-type", "EC:prime256v1", "--label", label, "--id", "01")

    async def scenario(backend: Pkcs11Backend) -> None:
        (listed,) = await backend.list_keys()
        assert listed.label == label
        assert await backend.resolve(listed.name) == listed.name

    use_backend(scenario)


def test_label_that_is_not_text_is_omitted(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        await change_token(backend, lambda session: generate_p256(session, label="a\nb"))
        (listed,) = await backend.list_keys()
        assert (listed.name, listed.label) == (f"token={TOKEN};id=%01", "")
        assert await backend.resolve(listed.name) == listed.name

    use_backend(scenario)


def test_generated_keys_cannot_be_read(own_softhsm: SoftHsm) -> None:
    def find_readable(session: pkcs11.Session) -> list[Any]:
        protection = (Attribute.SENSITIVE, Attribute.ALWAYS_SENSITIVE, Attribute.NEVER_EXTRACTABLE, Attribute.PRIVATE)
        keys = [
            key
            for object_class in (ObjectClass.PRIVATE_KEY, ObjectClass.SECRET_KEY)
            for key in session.get_objects({Attribute.CLASS: object_class})
        ]
        assert len(keys) == 4
        return [key for key in keys if key[Attribute.EXTRACTABLE] or not all(key[item] for item in protection)]

    async def scenario(backend: Pkcs11Backend) -> None:
        for kind in (KeyType.RSA_2048, KeyType.EC_P256, KeyType.ED25519, KeyType.AES_256):
            await backend.generate(f"token={TOKEN};object={kind}", kind)
        assert await change_token(backend, find_readable) == []

    use_backend(scenario)


def test_extractable_key_is_removed(own_softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(generation._PROTECTED, Attribute.EXTRACTABLE, True)

    async def scenario(backend: Pkcs11Backend) -> None:
        for kind in (KeyType.EC_P256, KeyType.AES_256):
            with pytest.raises(KeyProviderError, match="so that it can be read"):
                await backend.generate(NAME, kind)
        with pytest.raises(NotFoundError):
            await backend.describe(NAME)

    use_backend(scenario)
    assert own_softhsm.run_tool("--list-objects").strip() == b""


# ---- mechanisms and attributes of keys


def generate_p256(session: pkcs11.Session, **private_attributes: Any) -> None:
    """Generate the key ``NAME`` with these attributes of the private key."""
    parameters = session.create_domain_parameters(
        pkcs11.KeyType.EC, {Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}, local=True
    )
    template = {Attribute[name.upper()]: value for name, value in private_attributes.items()}
    parameters.generate_keypair(store=True, label="gateway-sign", id=b"\1", private_template=template)


def test_key_that_must_not_sign_has_no_algorithms(own_softhsm: SoftHsm) -> None:
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


def test_secret_wrapped_in_token_has_documented_form(own_softhsm: SoftHsm) -> None:
    async def scenario(backend: Pkcs11Backend) -> None:
        await change_token(backend, store_aes_key)
        wrapped = await backend.wrap(NAME, "01", SECRET, b"context")
        assert wrapped[:1] == b"\x01"
        assert AESGCM(AES_KEY).decrypt(wrapped[1:13], wrapped[13:], b"\x01context") == SECRET

    use_backend(scenario)


def test_secret_wrapped_by_data_key_has_documented_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
