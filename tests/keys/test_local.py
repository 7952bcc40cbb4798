"""Tests of the local key provider: the contract, damaged files, imported files and secrecy."""

from __future__ import annotations

import asyncio
import base64
import errno
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.crypto.signatures import PrivateKey
from sealyard.fs import atomic
from sealyard.keys import local
from sealyard.keys.local import LocalKeyProvider
from sealyard.keys.material import describe, to_bytes
from sealyard.keys.provider import KeyProvider
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.errors import (
    InvalidKeyError,
    KeyStoreCorruptedError,
    KeyStoreLockedError,
    NotFoundError,
    SealyardError,
    StorageError,
)
from sealyard.model.keys import MAX_KEY_FILE_BYTES, KeyVersion
from tests.keys.capability_contract import CapabilityContract
from tests.keys.cipher_contract import CipherContract
from tests.keys.provider_contract import AES_KEY, PACKAGE, ProviderContract, import_file
from tests.support.key_files import PASSWORD, private_key, write_certificate, write_pem, write_pkcs12

MASTER_KEY = b"a canary among keys".ljust(32, b".")
KINDS = [KeyType.ED25519, KeyType.AES_256]


@pytest.fixture
def keys(tmp_path: Path) -> LocalKeyProvider:
    return LocalKeyProvider(tmp_path / "keys", MASTER_KEY)


@pytest.fixture
def provider(keys: LocalKeyProvider) -> KeyProvider:
    return keys


class TestLocalKeys(ProviderContract, CapabilityContract, CipherContract):
    pass


async def open_key(keys: LocalKeyProvider, name: str, kind: KeyType, version: int = 1) -> object:
    if kind.symmetric:
        return await keys.cipher(name, version, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    return await keys.signer(name, version, SigningAlgorithm.ED25519)


def create_keys(folder: Path) -> LocalKeyProvider:
    """Create a key with two versions for each of ``KINDS``, named after its kind."""
    keys = LocalKeyProvider(folder, MASTER_KEY)
    for kind in KINDS:
        asyncio.run(keys.generate(kind.lower(), kind, PACKAGE, "name"))
        asyncio.run(keys.rotate(kind.lower()))
    return keys


def test_keys_are_readable_after_restart(tmp_path: Path) -> None:
    info = asyncio.run(create_keys(tmp_path / "keys").get_info("ed25519"))
    reopened = LocalKeyProvider(tmp_path / "keys", MASTER_KEY)
    assert asyncio.run(reopened.get_info("ed25519")) == info
    for kind in KINDS:
        for version in (1, 2):
            asyncio.run(open_key(reopened, kind.lower(), kind, version))


def test_export_returns_the_imported_key(keys: LocalKeyProvider, tmp_path: Path) -> None:
    (tmp_path / "aes").write_bytes(AES_KEY)
    asyncio.run(import_file(keys, tmp_path / "aes", KeyType.AES_256))
    assert asyncio.run(keys.export_symmetric("imported-key", 1)) == AES_KEY


def test_concurrent_generate_creates_one_key(keys: LocalKeyProvider) -> None:
    async def scenario() -> list[object]:
        attempts = (keys.generate("generated-key", KeyType.ED25519, PACKAGE, "name") for _ in range(5))
        return await asyncio.gather(*attempts, return_exceptions=True)

    results = asyncio.run(scenario())
    assert sum(not isinstance(each, Exception) for each in results) == 1


def test_concurrent_rotations_each_add_a_version(keys: LocalKeyProvider) -> None:
    async def scenario() -> list[int]:
        await keys.generate("generated-key", KeyType.ED25519, PACKAGE, "name")
        await asyncio.gather(*(keys.rotate("generated-key") for _ in range(5)))
        return [each.version for each in (await keys.get_info("generated-key")).versions]

    assert asyncio.run(scenario()) == [1, 2, 3, 4, 5, 6]


def test_versions_of_two_workers_do_not_collide(keys: LocalKeyProvider, tmp_path: Path) -> None:
    """Each worker process has its own provider; here both are in this process, with threads of their own."""
    workers = (keys, LocalKeyProvider(tmp_path / "keys", MASTER_KEY))

    async def scenario() -> None:
        await keys.generate("generated-key", KeyType.ED25519, PACKAGE, "name")
        versions = await asyncio.gather(*(worker.rotate("generated-key") for worker in workers * 5))
        assert sorted(version.version for version in versions) == list(range(2, 12))
        for number in range(1, 12):
            await open_key(keys, "generated-key", KeyType.ED25519, number)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["v2.key", "key.json"])
def test_failed_import_of_certificate_keeps_the_key(
    keys: LocalKeyProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def write_except(path: Path, data: bytes) -> None:
        if path.name == name:
            raise OSError(errno.ENOSPC, "no space")
        atomic.write_atomic(path, data)

    key = private_key(KeyType.ED25519)
    asyncio.run(import_file(keys, write_pem(tmp_path / "key", key), KeyType.ED25519))
    info = asyncio.run(keys.get_info("imported-key"))
    path = write_certificate(tmp_path / "crt", key)
    with monkeypatch.context() as patch:
        patch.setattr(local, "write_atomic", write_except)
        with pytest.raises(StorageError):
            asyncio.run(keys.import_certificate("imported-key", 1, path.read_bytes()))
    assert asyncio.run(keys.get_info("imported-key")) == info
    asyncio.run(open_key(keys, "imported-key", KeyType.ED25519))
    version = asyncio.run(keys.import_certificate("imported-key", 1, path.read_bytes()))
    assert asyncio.run(keys.get_info("imported-key")).versions == (info.current, version)
    asyncio.run(open_key(keys, "imported-key", KeyType.ED25519, 2))


def test_locked_folder_raises_storage_error(keys: LocalKeyProvider, tmp_path: Path) -> None:
    (tmp_path / "keys" / ".lock").mkdir()
    with pytest.raises(StorageError):
        asyncio.run(keys.generate("generated-key", KeyType.ED25519, PACKAGE, "name"))


def test_incomplete_key_leaves_name_free(keys: LocalKeyProvider, tmp_path: Path) -> None:
    asyncio.run(keys.generate("generated-key", KeyType.ED25519, PACKAGE, "name"))
    (tmp_path / "keys" / "generated-key" / "key.json").unlink()
    with pytest.raises(NotFoundError):
        asyncio.run(keys.get_info("generated-key"))
    asyncio.run(keys.generate("generated-key", KeyType.ED25519, PACKAGE, "name"))
    asyncio.run(open_key(keys, "generated-key", KeyType.ED25519))


def test_files_and_folders_are_private(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    for path in [tmp_path / "keys", *(tmp_path / "keys").rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_create_leaves_no_temporary_files(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    assert not list((tmp_path / "keys").rglob("*.tmp"))


def test_unwritable_folder_raises_storage_error(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(StorageError):
        LocalKeyProvider(tmp_path / "keys" / "deep", MASTER_KEY)


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bit_in_key_file_is_reported(tmp_path: Path, kind: KeyType) -> None:
    keys = create_keys(tmp_path / "keys")
    path = tmp_path / "keys" / kind.lower() / "v1.key"
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(KeyStoreCorruptedError, match=rf"{kind.lower()}.*v1\.key"):
            asyncio.run(open_key(keys, kind.lower(), kind))
    path.write_bytes(content)
    asyncio.run(open_key(keys, kind.lower(), kind))


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bit_in_key_info_is_detected(tmp_path: Path, kind: KeyType) -> None:
    keys = LocalKeyProvider(tmp_path / "keys", MASTER_KEY)
    asyncio.run(keys.generate("generated-key", kind, PACKAGE, "name"))
    path = tmp_path / "keys" / "generated-key" / "key.json"
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises((KeyStoreCorruptedError, NotFoundError, InvalidKeyError)):
            asyncio.run(open_key(keys, "generated-key", kind))


@pytest.mark.parametrize("length", [0, 1, 14, 15, 20, 27, 40])
def test_truncated_key_file_is_reported(tmp_path: Path, length: int) -> None:
    keys = create_keys(tmp_path / "keys")
    path = tmp_path / "keys" / "ed25519" / "v1.key"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(open_key(keys, "ed25519", KeyType.ED25519))


def test_missing_key_file_is_reported(tmp_path: Path) -> None:
    keys = create_keys(tmp_path / "keys")
    (tmp_path / "keys" / "ed25519" / "v1.key").unlink()
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(open_key(keys, "ed25519", KeyType.ED25519))


def test_swapped_version_is_detected(tmp_path: Path) -> None:
    keys = create_keys(tmp_path / "keys")
    folder = tmp_path / "keys" / "ed25519"
    shutil.copy(folder / "v1.key", folder / "v2.key")
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(open_key(keys, "ed25519", KeyType.ED25519, 2))


def test_swapped_key_is_detected(tmp_path: Path) -> None:
    keys = create_keys(tmp_path / "keys")
    asyncio.run(keys.generate("other", KeyType.ED25519, PACKAGE, "name"))
    shutil.copytree(tmp_path / "keys" / "other", tmp_path / "keys" / "ed25519", dirs_exist_ok=True)
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(open_key(keys, "ed25519", KeyType.ED25519))


@pytest.mark.parametrize(("old", "new"), [("package", "data"), ("ED25519", "EC_P256"), ('"imported"', '"generated"')])
def test_changed_key_purpose_is_detected(tmp_path: Path, old: str, new: str) -> None:
    keys = LocalKeyProvider(tmp_path / "keys", MASTER_KEY)
    path = write_pem(tmp_path / "key", private_key(KeyType.ED25519))
    asyncio.run(keys.import_key("imported-key", path.read_bytes(), KeyType.ED25519, KeyPurpose.PACKAGE, None, None))
    sidecar = tmp_path / "keys" / "imported-key" / "key.json"
    assert old in sidecar.read_text()
    sidecar.write_text(sidecar.read_text().replace(old, new))
    algorithm = SigningAlgorithm.ECC_NIST_P256 if new == "EC_P256" else SigningAlgorithm.ED25519
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(keys.signer("imported-key", 1, algorithm))


def test_key_of_earlier_release_is_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Earlier releases did not record the start of the certificate's validity, which is authenticated data."""

    def describe_as_before(*arguments: Any) -> KeyVersion:
        return msgspec.structs.replace(describe(*arguments), certificate_valid_from=msgspec.UNSET)

    with monkeypatch.context() as patch:
        patch.setattr(local, "describe", describe_as_before)
        keys = create_keys(tmp_path / "keys")
    assert "alidFrom" not in (tmp_path / "keys" / "ed25519" / "key.json").read_text()
    asyncio.run(keys.rotate("ed25519"))
    for version in (1, 2, 3):
        asyncio.run(open_key(keys, "ed25519", KeyType.ED25519, version))


def test_swapped_certificate_is_detected(tmp_path: Path) -> None:
    keys = LocalKeyProvider(tmp_path / "keys", MASTER_KEY)
    key = private_key(KeyType.ED25519)
    crt = write_certificate(tmp_path / "crt", key)
    path = write_pem(tmp_path / "key", key)
    mine = asyncio.run(
        keys.import_key("mine", path.read_bytes(), KeyType.ED25519, PACKAGE, None, crt.read_bytes())
    ).current
    theirs = asyncio.run(keys.import_key("theirs", path.read_bytes(), KeyType.ED25519, PACKAGE, None, None)).current
    sidecar = tmp_path / "keys" / "mine" / "key.json"
    one, other = (str(each.certificate).replace("\n", "\\n") for each in (mine, theirs))
    sidecar.write_text(sidecar.read_text().replace(one, other))
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(open_key(keys, "mine", KeyType.ED25519))


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"\xff", b"[" * 10_000, b'{"uri":"local:ed25519"}'])
def test_invalid_sidecar_is_reported(tmp_path: Path, content: bytes) -> None:
    keys = create_keys(tmp_path / "keys")
    (tmp_path / "keys" / "ed25519" / "key.json").write_bytes(content)
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(keys.get_info("ed25519"))


def test_other_master_key_is_not_corruption(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    with pytest.raises(KeyStoreLockedError, match="a different master key"):
        LocalKeyProvider(tmp_path / "keys", bytes(32))


def test_damaged_check_file_is_reported(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    path = tmp_path / "keys" / ".master-key-check.json"
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(KeyStoreCorruptedError, match="master-key-check"):
            LocalKeyProvider(tmp_path / "keys", MASTER_KEY)
    path.unlink()
    with pytest.raises(KeyStoreCorruptedError, match="master-key-check"):
        LocalKeyProvider(tmp_path / "keys", MASTER_KEY)


# Imported files


@pytest.mark.parametrize(
    ("data", "kind", "key"),
    [
        (AES_KEY, KeyType.AES_256, AES_KEY),
        (AES_KEY[:16], KeyType.AES_128, AES_KEY[:16]),
        (AES_KEY.hex().encode(), KeyType.AES_256, AES_KEY),
        (AES_KEY[:16].hex().upper().encode() + b"\r\n", KeyType.AES_128, AES_KEY[:16]),
        (b" " * 16, KeyType.AES_128, b" " * 16),
    ],
)
def test_import_aes_key_raw_or_hexadecimal(
    keys: LocalKeyProvider, tmp_path: Path, data: bytes, kind: KeyType, key: bytes
) -> None:
    (tmp_path / "aes").write_bytes(data)
    asyncio.run(import_file(keys, tmp_path / "aes", kind))
    assert asyncio.run(keys.export_symmetric("imported-key", 1)) == key


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", KeyType.AES_128),
        (AES_KEY, KeyType.AES_128),
        (AES_KEY[:16], KeyType.AES_256),
        (AES_KEY[:24], KeyType.AES_256),
        (AES_KEY + b"\n", KeyType.AES_256),
        (AES_KEY[:16].hex().encode(), KeyType.AES_256),
        (AES_KEY.hex().encode()[:-1], KeyType.AES_256),
        (b"0123456789abcdef", KeyType.AES_128),
    ],
)
def test_invalid_aes_key_error_names_valid_lengths(
    keys: LocalKeyProvider, tmp_path: Path, data: bytes, kind: KeyType
) -> None:
    (tmp_path / "aes").write_bytes(data)
    with pytest.raises(InvalidKeyError, match="Use exactly"):
        asyncio.run(import_file(keys, tmp_path / "aes", kind))


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (lambda: ec.generate_private_key(ec.SECP384R1()), KeyType.EC_P256),
        (lambda: ec.generate_private_key(ec.SECP256K1()), KeyType.EC_P256),
        (lambda: rsa.generate_private_key(public_exponent=65537, key_size=1024), KeyType.RSA_2048),
        (lambda: rsa.generate_private_key(public_exponent=65537, key_size=2056), KeyType.RSA_2048),
    ],
)
def test_unsupported_key_error_names_supported_types(
    keys: LocalKeyProvider, tmp_path: Path, key: Callable[[], PrivateKey], kind: KeyType
) -> None:
    path = write_pem(tmp_path / "key", key())
    with pytest.raises(InvalidKeyError, match="2048, 3072 or 4096 bits, EC on NIST P-256, Ed25519, or ML-DSA"):
        asyncio.run(import_file(keys, path, kind))


@pytest.mark.parametrize("kind", [KeyType.RSA_2048, KeyType.EC_P256])
def test_import_traditional_pem(keys: LocalKeyProvider, tmp_path: Path, kind: KeyType) -> None:
    path = write_pem(tmp_path / "key", private_key(kind), None, PrivateFormat.TraditionalOpenSSL)
    asyncio.run(import_file(keys, path, kind))
    assert asyncio.run(keys.get_info("imported-key")).kind is kind


@pytest.mark.parametrize("write", [write_pem, write_pkcs12])
@pytest.mark.parametrize("given", ["wrong", None, ""])
def test_import_with_wrong_password_is_rejected(
    keys: LocalKeyProvider, tmp_path: Path, write: Callable[..., Path], given: str | None
) -> None:
    path = write(tmp_path / "key", private_key(KeyType.ED25519), PASSWORD)
    with pytest.raises(InvalidKeyError, match="password"):
        asyncio.run(import_file(keys, path, KeyType.ED25519, given))


def test_import_with_unneeded_password_succeeds(keys: LocalKeyProvider, tmp_path: Path) -> None:
    path = write_pem(tmp_path / "key", private_key(KeyType.ED25519))
    asyncio.run(import_file(keys, path, KeyType.ED25519, PASSWORD))
    assert asyncio.run(keys.get_info("imported-key")).current.origin == "imported"


def test_pkcs12_without_key_is_rejected(keys: LocalKeyProvider, tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError, match="not contain a private key"):
        asyncio.run(import_file(keys, write_pkcs12(tmp_path / "key", None, PASSWORD), KeyType.ED25519, PASSWORD))


def test_pkcs12_without_certificate_gets_one(keys: LocalKeyProvider, tmp_path: Path) -> None:
    path = write_pkcs12(tmp_path / "key", private_key(KeyType.EC_P256), PASSWORD, certificate=False)
    asyncio.run(import_file(keys, path, KeyType.EC_P256, PASSWORD))
    assert asyncio.run(keys.get_info("imported-key")).current.certificate


def test_import_of_huge_file_is_rejected(keys: LocalKeyProvider) -> None:
    huge = bytes(MAX_KEY_FILE_BYTES + 1)
    with pytest.raises(InvalidKeyError, match="larger than any key"):
        asyncio.run(keys.import_key("imported-key", huge, KeyType.AES_128, PACKAGE, None, None))


PEM_STARTS = [b"", b"-----BEGIN PRIVATE KEY-----\n", b"-----BEGIN EC PRIVATE KEY-----\n", b"\x30\x82"]


@settings(deadline=None)
@given(start=st.sampled_from(PEM_STARTS), rest=st.binary(max_size=200), password=st.none() | st.just("x"))
def test_import_of_arbitrary_bytes_is_rejected(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes, password: str | None
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / "key").write_bytes(start + rest)
    with pytest.raises(InvalidKeyError):
        asyncio.run(
            import_file(LocalKeyProvider(folder / "keys", MASTER_KEY), folder / "key", KeyType.EC_P256, password)
        )


@settings(deadline=None)
@given(
    write=st.sampled_from([write_pem, write_pkcs12]),
    position=st.floats(0, 1, exclude_max=True),
    value=st.integers(0, 255),
)
def test_import_of_changed_file_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, write: Callable[..., Path], position: float, value: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = write(folder / "key", private_key(KeyType.EC_P256), None)
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] = value
    path.write_bytes(content)
    with suppress(InvalidKeyError):
        asyncio.run(import_file(LocalKeyProvider(folder / "keys", MASTER_KEY), path, KeyType.EC_P256))


@pytest.mark.parametrize("certificate", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\n"])
def test_import_of_invalid_certificate_is_rejected(keys: LocalKeyProvider, tmp_path: Path, certificate: bytes) -> None:
    path = write_pem(tmp_path / "key", private_key(KeyType.EC_P256))
    (tmp_path / "crt").write_bytes(certificate)
    with pytest.raises(InvalidKeyError):
        asyncio.run(import_file(keys, path, KeyType.EC_P256, certificate=tmp_path / "crt"))


# Secrecy


def secret_forms(key: bytes) -> list[bytes]:
    """Return the forms in which ``key``, or any 16 bytes of it, could appear in a file or a text."""
    parts = [key[start : start + 16] for start in range(0, len(key) - 15)]
    return [*parts, *(part.hex().encode() for part in parts), base64.b64encode(key)[:20], repr(key[:8])[2:-1].encode()]


def test_key_folder_contains_no_plaintext_key(keys: LocalKeyProvider, tmp_path: Path) -> None:
    key = private_key(KeyType.ED25519)
    asyncio.run(import_file(keys, write_pem(tmp_path / "key", key), KeyType.ED25519, name="signs"))
    (tmp_path / "aes").write_bytes(AES_KEY)
    asyncio.run(import_file(keys, tmp_path / "aes", KeyType.AES_256, name="encrypts"))
    files = b"".join(path.read_bytes() for path in (tmp_path / "keys").rglob("*") if path.is_file())
    for secret in (*secret_forms(to_bytes(key)[-32:]), *secret_forms(AES_KEY), *secret_forms(MASTER_KEY)):
        assert secret not in files


def test_texts_contain_no_key_or_password(
    keys: LocalKeyProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = private_key(KeyType.ED25519)
    texts: list[object] = []

    async def attempt(path: Path, kind: KeyType, password: str | None = None) -> None:
        try:
            await import_file(keys, path, kind, password)
        except SealyardError as error:
            texts.extend([error, error.message, error.hint, error.__cause__, error.__context__, error.args])

    async def scenario() -> None:
        (tmp_path / "aes").write_bytes(AES_KEY)
        await attempt(tmp_path / "aes", KeyType.AES_128)
        await attempt(tmp_path / "aes", KeyType.ED25519, PASSWORD)
        await attempt(write_pem(tmp_path / "pem", key, "another"), KeyType.ED25519, PASSWORD)
        await attempt(write_pkcs12(tmp_path / "p12", key, "another"), KeyType.ED25519, PASSWORD)
        await import_file(keys, tmp_path / "aes", KeyType.AES_256, name="encrypts")
        await import_file(keys, write_pem(tmp_path / "plain", key), KeyType.ED25519, name="signs")
        texts.extend([await keys.get_info("encrypts"), await keys.get_info("signs"), keys])
        texts.append(await keys.signer("signs", 1, SigningAlgorithm.ED25519))
        texts.append(await keys.cipher("encrypts", 1, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD))

    asyncio.run(scenario())
    assert len(texts) >= 4 * 6 + 5
    output = "\n".join([*map(repr, texts), *map(str, texts), caplog.text]).encode()
    for secret in (
        *secret_forms(to_bytes(key)[-32:]),
        *secret_forms(AES_KEY),
        *secret_forms(MASTER_KEY),
        PASSWORD.encode(),
    ):
        assert secret not in output


def test_full_disk_adds_no_key(keys: LocalKeyProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def generate() -> None:
        asyncio.run(keys.generate("vendor", KeyType.ED25519, KeyPurpose.DATA, "Vendor"))

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_all", fail)
        with pytest.raises(StorageError, match="Not enough disk space for writing the key store"):
            generate()
    assert not list(tmp_path.rglob("*.tmp"))
    generate()
