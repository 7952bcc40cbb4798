"""Keys in files: the contract, and what a stolen or damaged folder gives."""

from __future__ import annotations

import asyncio
import base64
import errno
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.crypto.signatures import PrivateKey
from sealyard.fs import atomic
from sealyard.keys.local import LocalKeyProvider
from sealyard.keys.material import to_bytes
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
from tests.keys.provider_contract import AES_KEY, PACKAGE, ProviderContract, import_file
from tests.support.key_files import PASSWORD, private_key, write_certificate, write_pem, write_pkcs12

MASTER_KEY = bytes(range(32))
KINDS = [KeyType.ED25519, KeyType.AES_256]


@pytest.fixture
def keys(tmp_path: Path) -> LocalKeyProvider:
    return LocalKeyProvider(tmp_path / "keys", MASTER_KEY)


@pytest.fixture
def provider(keys: LocalKeyProvider) -> KeyProvider:
    return keys


class TestLocalKeys(ProviderContract):
    pass


async def use(keys: LocalKeyProvider, name: str, kind: KeyType, version: int = 1) -> object:
    if kind.symmetric:
        return await keys.cipher(name, version, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    return await keys.signer(name, version, SigningAlgorithm.ED25519)


def filled(folder: Path) -> LocalKeyProvider:
    """A key of each of ``KINDS``, named like it, with two versions."""
    keys = LocalKeyProvider(folder, MASTER_KEY)
    for kind in KINDS:
        asyncio.run(keys.generate(kind.lower(), kind, PACKAGE, "name"))
        asyncio.run(keys.rotate(kind.lower()))
    return keys


def test_keys_are_there_after_a_restart(tmp_path: Path) -> None:
    info = asyncio.run(filled(tmp_path / "keys").get_info("ed25519"))
    again = LocalKeyProvider(tmp_path / "keys", MASTER_KEY)
    assert asyncio.run(again.get_info("ed25519")) == info
    for kind in KINDS:
        for version in (1, 2):
            asyncio.run(use(again, kind.lower(), kind, version))


def test_an_exported_key_is_the_one_that_came_in(keys: LocalKeyProvider, tmp_path: Path) -> None:
    (tmp_path / "aes").write_bytes(AES_KEY)
    asyncio.run(import_file(keys, tmp_path / "aes", KeyType.AES_256))
    assert asyncio.run(keys.export_symmetric("brought", 1)) == AES_KEY


def test_two_keys_of_one_name_at_once_give_one(keys: LocalKeyProvider) -> None:
    async def scenario() -> list[object]:
        makes = (keys.generate("made", KeyType.ED25519, PACKAGE, "name") for _ in range(5))
        return await asyncio.gather(*makes, return_exceptions=True)

    outcomes = asyncio.run(scenario())
    assert sum(not isinstance(each, Exception) for each in outcomes) == 1


def test_rotations_at_once_each_make_a_version(keys: LocalKeyProvider) -> None:
    async def scenario() -> list[int]:
        await keys.generate("made", KeyType.ED25519, PACKAGE, "name")
        await asyncio.gather(*(keys.rotate("made") for _ in range(5)))
        return [each.version for each in (await keys.get_info("made")).versions]

    assert asyncio.run(scenario()) == [1, 2, 3, 4, 5, 6]


def test_a_crash_before_a_key_is_whole_leaves_its_name_free(keys: LocalKeyProvider, tmp_path: Path) -> None:
    asyncio.run(keys.generate("made", KeyType.ED25519, PACKAGE, "name"))
    (tmp_path / "keys" / "made" / "key.json").unlink()
    with pytest.raises(NotFoundError):
        asyncio.run(keys.get_info("made"))
    asyncio.run(keys.generate("made", KeyType.ED25519, PACKAGE, "name"))
    asyncio.run(use(keys, "made", KeyType.ED25519))


def test_files_and_folders_are_the_owners_alone(tmp_path: Path) -> None:
    filled(tmp_path / "keys")
    for path in [tmp_path / "keys", *(tmp_path / "keys").rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)


def test_no_temporary_file_is_left(tmp_path: Path) -> None:
    filled(tmp_path / "keys")
    assert not list((tmp_path / "keys").rglob("*.tmp"))


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a file")
    with pytest.raises(StorageError):
        LocalKeyProvider(tmp_path / "keys" / "deep", MASTER_KEY)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_anywhere_in_a_key_file_is_found_and_named(tmp_path: Path, kind: KeyType) -> None:
    keys = filled(tmp_path / "keys")
    path = tmp_path / "keys" / kind.lower() / "v1.key"
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(KeyStoreCorruptedError, match=rf"{kind.lower()}.*v1\.key"):
            asyncio.run(use(keys, kind.lower(), kind))
    path.write_bytes(whole)
    asyncio.run(use(keys, kind.lower(), kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_in_what_is_public_is_found(tmp_path: Path, kind: KeyType) -> None:
    keys = LocalKeyProvider(tmp_path / "keys", MASTER_KEY)
    asyncio.run(keys.generate("made", kind, PACKAGE, "name"))
    path = tmp_path / "keys" / "made" / "key.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises((KeyStoreCorruptedError, NotFoundError, InvalidKeyError)):
            asyncio.run(use(keys, "made", kind))


@pytest.mark.parametrize("length", [0, 1, 14, 15, 20, 27, 40])
def test_a_cut_key_file_is_found(tmp_path: Path, length: int) -> None:
    keys = filled(tmp_path / "keys")
    path = tmp_path / "keys" / "ed25519" / "v1.key"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(use(keys, "ed25519", KeyType.ED25519))


def test_a_missing_key_file_is_damage(tmp_path: Path) -> None:
    keys = filled(tmp_path / "keys")
    (tmp_path / "keys" / "ed25519" / "v1.key").unlink()
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(use(keys, "ed25519", KeyType.ED25519))


def test_one_version_cannot_stand_for_another(tmp_path: Path) -> None:
    keys = filled(tmp_path / "keys")
    folder = tmp_path / "keys" / "ed25519"
    shutil.copy(folder / "v1.key", folder / "v2.key")
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(use(keys, "ed25519", KeyType.ED25519, 2))


def test_one_key_cannot_stand_for_another(tmp_path: Path) -> None:
    keys = filled(tmp_path / "keys")
    asyncio.run(keys.generate("other", KeyType.ED25519, PACKAGE, "name"))
    shutil.copytree(tmp_path / "keys" / "other", tmp_path / "keys" / "ed25519", dirs_exist_ok=True)
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(use(keys, "ed25519", KeyType.ED25519))


@pytest.mark.parametrize(("old", "new"), [("package", "data"), ("ED25519", "EC_P256"), ('"imported"', '"generated"')])
def test_what_a_key_may_be_used_for_cannot_be_rewritten(tmp_path: Path, old: str, new: str) -> None:
    keys = LocalKeyProvider(tmp_path / "keys", MASTER_KEY)
    path = write_pem(tmp_path / "key", private_key(KeyType.ED25519))
    asyncio.run(keys.import_key("made", path, KeyType.ED25519, KeyPurpose.PACKAGE, None, None))
    sidecar = tmp_path / "keys" / "made" / "key.json"
    assert old in sidecar.read_text()
    sidecar.write_text(sidecar.read_text().replace(old, new))
    algorithm = SigningAlgorithm.ECC_NIST_P256 if new == "EC_P256" else SigningAlgorithm.ED25519
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(keys.signer("made", 1, algorithm))


def test_a_certificate_put_in_the_place_of_another_is_found(tmp_path: Path) -> None:
    keys = LocalKeyProvider(tmp_path / "keys", MASTER_KEY)
    key = private_key(KeyType.ED25519)
    crt = write_certificate(tmp_path / "crt", key)
    path = write_pem(tmp_path / "key", key)
    mine = asyncio.run(keys.import_key("mine", path, KeyType.ED25519, PACKAGE, None, crt)).current
    theirs = asyncio.run(keys.import_key("theirs", path, KeyType.ED25519, PACKAGE, None, None)).current
    sidecar = tmp_path / "keys" / "mine" / "key.json"
    one, other = (str(each.certificate).replace("\n", "\\n") for each in (mine, theirs))
    sidecar.write_text(sidecar.read_text().replace(one, other))
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(use(keys, "mine", KeyType.ED25519))


@pytest.mark.parametrize("spoiled", [b"", b"{}", b"null", b"\xff", b"[" * 10_000, b'{"uri":"local:ed25519"}'])
def test_a_sidecar_that_is_none_is_damage(tmp_path: Path, spoiled: bytes) -> None:
    keys = filled(tmp_path / "keys")
    (tmp_path / "keys" / "ed25519" / "key.json").write_bytes(spoiled)
    with pytest.raises(KeyStoreCorruptedError):
        asyncio.run(keys.get_info("ed25519"))


def test_another_master_key_is_not_taken_for_damage(tmp_path: Path) -> None:
    filled(tmp_path / "keys")
    with pytest.raises(KeyStoreLockedError, match="a different master key"):
        LocalKeyProvider(tmp_path / "keys", bytes(32))


def test_a_damaged_check_file_is_damage(tmp_path: Path) -> None:
    filled(tmp_path / "keys")
    path = tmp_path / "keys" / ".master-key-check.json"
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(KeyStoreCorruptedError, match="master-key-check"):
            LocalKeyProvider(tmp_path / "keys", MASTER_KEY)
    path.unlink()
    with pytest.raises(KeyStoreCorruptedError, match="master-key-check"):
        LocalKeyProvider(tmp_path / "keys", MASTER_KEY)


# What people bring


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
def test_aes_keys_come_raw_or_hexadecimal(
    keys: LocalKeyProvider, tmp_path: Path, data: bytes, kind: KeyType, key: bytes
) -> None:
    (tmp_path / "aes").write_bytes(data)
    asyncio.run(import_file(keys, tmp_path / "aes", kind))
    assert asyncio.run(keys.export_symmetric("brought", 1)) == key


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
def test_what_is_no_aes_key_is_refused_with_what_is(
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
def test_other_curves_and_sizes_are_refused_with_what_is_accepted(
    keys: LocalKeyProvider, tmp_path: Path, key: Callable[[], PrivateKey], kind: KeyType
) -> None:
    path = write_pem(tmp_path / "key", key())
    with pytest.raises(InvalidKeyError, match="2048, 3072 or 4096 bits, EC on NIST P-256, or Ed25519"):
        asyncio.run(import_file(keys, path, kind))


@pytest.mark.parametrize("kind", [KeyType.RSA_2048, KeyType.EC_P256])
def test_the_older_pem_layouts_are_read(keys: LocalKeyProvider, tmp_path: Path, kind: KeyType) -> None:
    path = write_pem(tmp_path / "key", private_key(kind), None, PrivateFormat.TraditionalOpenSSL)
    asyncio.run(import_file(keys, path, kind))
    assert asyncio.run(keys.get_info("brought")).kind is kind


@pytest.mark.parametrize("write", [write_pem, write_pkcs12])
@pytest.mark.parametrize("given", ["wrong", None, ""])
def test_a_wrong_password_is_refused(
    keys: LocalKeyProvider, tmp_path: Path, write: Callable[..., Path], given: str | None
) -> None:
    path = write(tmp_path / "key", private_key(KeyType.ED25519), PASSWORD)
    with pytest.raises(InvalidKeyError, match="password"):
        asyncio.run(import_file(keys, path, KeyType.ED25519, given))


def test_a_password_that_is_not_needed_does_no_harm(keys: LocalKeyProvider, tmp_path: Path) -> None:
    path = write_pem(tmp_path / "key", private_key(KeyType.ED25519))
    asyncio.run(import_file(keys, path, KeyType.ED25519, PASSWORD))
    assert asyncio.run(keys.get_info("brought")).current.origin == "imported"


def test_a_pkcs12_file_without_a_key_is_refused(keys: LocalKeyProvider, tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError, match="not contain a private key"):
        asyncio.run(import_file(keys, write_pkcs12(tmp_path / "key", None, PASSWORD), KeyType.ED25519, PASSWORD))


def test_a_pkcs12_file_without_a_certificate_gets_one(keys: LocalKeyProvider, tmp_path: Path) -> None:
    path = write_pkcs12(tmp_path / "key", private_key(KeyType.EC_P256), PASSWORD, certificate=False)
    asyncio.run(import_file(keys, path, KeyType.EC_P256, PASSWORD))
    assert asyncio.run(keys.get_info("brought")).current.certificate


def test_a_file_that_is_not_there_is_refused(keys: LocalKeyProvider, tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError, match="Cannot read the file"):
        asyncio.run(import_file(keys, tmp_path / "nothing", KeyType.ED25519))


def test_a_huge_file_is_refused(keys: LocalKeyProvider, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(InvalidKeyError, match="larger than any key"):
        asyncio.run(import_file(keys, tmp_path / "huge", KeyType.AES_128))


PEM_STARTS = [b"", b"-----BEGIN PRIVATE KEY-----\n", b"-----BEGIN EC PRIVATE KEY-----\n", b"\x30\x82"]


@settings(deadline=None)
@given(start=st.sampled_from(PEM_STARTS), rest=st.binary(max_size=200), password=st.none() | st.just("x"))
def test_any_file_is_a_key_or_refused(
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
    place=st.floats(0, 1, exclude_max=True),
    value=st.integers(0, 255),
)
def test_a_damaged_key_file_of_a_person_is_a_key_or_refused(
    tmp_path_factory: pytest.TempPathFactory, write: Callable[..., Path], place: float, value: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = write(folder / "key", private_key(KeyType.EC_P256), None)
    whole = bytearray(path.read_bytes())
    whole[int(place * len(whole))] = value
    path.write_bytes(whole)
    with suppress(InvalidKeyError):
        asyncio.run(import_file(LocalKeyProvider(folder / "keys", MASTER_KEY), path, KeyType.EC_P256))


@pytest.mark.parametrize("certificate", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(keys: LocalKeyProvider, tmp_path: Path, certificate: bytes) -> None:
    path = write_pem(tmp_path / "key", private_key(KeyType.EC_P256))
    (tmp_path / "crt").write_bytes(certificate)
    with pytest.raises(InvalidKeyError):
        asyncio.run(import_file(keys, path, KeyType.EC_P256, certificate=tmp_path / "crt"))


# Nothing gets out


def secrets_of(key: bytes) -> list[bytes]:
    """``key`` as it might turn up in a file or a text; any 16 bytes of it are too many."""
    parts = [key[start : start + 16] for start in range(0, len(key) - 15)]
    return [*parts, *(part.hex().encode() for part in parts), base64.b64encode(key)[:20], repr(key[:8])[2:-1].encode()]


def test_the_folder_holds_no_key_in_the_clear(keys: LocalKeyProvider, tmp_path: Path) -> None:
    key = private_key(KeyType.ED25519)
    asyncio.run(import_file(keys, write_pem(tmp_path / "key", key), KeyType.ED25519, name="signs"))
    (tmp_path / "aes").write_bytes(AES_KEY)
    asyncio.run(import_file(keys, tmp_path / "aes", KeyType.AES_256, name="encrypts"))
    files = b"".join(path.read_bytes() for path in (tmp_path / "keys").rglob("*") if path.is_file())
    for secret in (*secrets_of(to_bytes(key)[-32:]), *secrets_of(AES_KEY), *secrets_of(MASTER_KEY)):
        assert secret not in files


def test_no_key_or_password_gets_into_a_text(
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
    said = "\n".join([*map(repr, texts), *map(str, texts), caplog.text]).encode()
    for secret in (*secrets_of(to_bytes(key)[-32:]), *secrets_of(AES_KEY), *secrets_of(MASTER_KEY), PASSWORD.encode()):
        assert secret not in said


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
