"""Keys in files: each under AES-256-GCM, bound to all that is publicly said of it.

A folder holds, for each key, ``<name>/key.json`` (public: kind, purpose, versions) and ``<name>/v1.key``,
``v2.key``, …: a format line, a random nonce of 12 bytes, and the ciphertext with its tag (NIST SP 800-38D). The
associated data is the RFC 8785 JSON of name, kind, purpose and everything ``key.json`` says of the version. A
change of either file is found when the key is used.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sealyard.crypto.algorithms import CIPHERS, SIGNATURES, SigningInput
from sealyard.crypto.certificates import COMMON_NAME_LIMIT, load_certificate
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.protocols import ContentCipher
from sealyard.crypto.signatures import PrivateKey, sign
from sealyard.keys.files import make_private_dir, write_atomic
from sealyard.keys.key_import import load_certificate_file, load_key
from sealyard.keys.master_key import verify_master_key
from sealyard.keys.material import Material, create_certificate, describe, from_bytes, generate_key, to_bytes
from sealyard.keys.provider import Signer
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import (
    ConflictError,
    InvalidKeyError,
    KeyStoreCorruptedError,
    NotFoundError,
    UsageError,
)
from sealyard.model.keys import KEY_NAME, KeyInfo, KeyVersion

SCHEME = "local"

_FORMAT = b"sealyard key 1\n"
_NONCE_LENGTH = 12
_INFO = "key.json"


class LocalKeyProvider:
    """The key provider of the scheme ``local``: a folder of files under a master key of 32 bytes.

    Raises :class:`KeyStoreLockedError` where the folder was made under another master key, and
    :class:`KeyStoreCorruptedError` naming the file that is not what was written.
    """

    def __init__(self, folder: Path, master_key: bytes) -> None:
        make_private_dir(folder)
        verify_master_key(folder, master_key)
        self._folder = folder
        self._aead = AESGCM(master_key)
        self._making = threading.Lock()

    async def get_info(self, name: str) -> KeyInfo:
        return self._info(name)

    async def generate(self, name: str, kind: KeyType, purpose: KeyPurpose, subject: str) -> KeyInfo:
        return await asyncio.to_thread(self._generate, name, kind, purpose, subject)

    async def import_key(
        self,
        name: str,
        path: Path,
        kind: KeyType,
        purpose: KeyPurpose,
        password: str | None,
        certificate: Path | None,
    ) -> KeyInfo:
        return await asyncio.to_thread(self._import, name, path, kind, purpose, password, certificate)

    async def rotate(self, name: str) -> KeyVersion:
        return await asyncio.to_thread(self._rotate, name)

    async def signer(self, name: str, version: int, algorithm: SigningAlgorithm) -> Signer:
        info = self._info(name)
        if info.kind not in SIGNATURES[algorithm].key_kinds:
            raise InvalidKeyError(
                f"{algorithm} does not take a key of the kind {info.kind}.",
                f"It takes {' or '.join(SIGNATURES[algorithm].key_kinds)}.",
            )
        key = self._open(info, version)
        assert isinstance(key, PrivateKey)
        return LocalSigner(key, algorithm)

    async def cipher(self, name: str, version: int, algorithm: EncryptionAlgorithm) -> ContentCipher:
        info = self._info(name)
        if info.kind is not CIPHERS[algorithm].key_kind:
            raise InvalidKeyError(
                f"{algorithm} does not take a key of the kind {info.kind}.", f"It takes {CIPHERS[algorithm].key_kind}."
            )
        key = self._open(info, version)
        assert isinstance(key, bytes)
        return AesCipher(algorithm, key)

    async def export_symmetric(self, name: str, version: int) -> bytes:
        info = self._info(name)
        if not info.kind.symmetric:
            raise InvalidKeyError(f"{info.uri} is a signing key.", "Private keys never leave; take the certificate.")
        key = self._open(info, version)
        assert isinstance(key, bytes)
        return key

    def _generate(self, name: str, kind: KeyType, purpose: KeyPurpose, subject: str) -> KeyInfo:
        self._require_unused_name(name)
        material = generate_key(kind)
        version = describe(material, 1, "generated", create_certificate(material, subject))
        return self._store_version(name, kind, purpose, version, material)

    def _import(
        self,
        name: str,
        path: Path,
        kind: KeyType,
        purpose: KeyPurpose,
        password: str | None,
        certificate: Path | None,
    ) -> KeyInfo:
        self._require_unused_name(name)
        material, found = load_key(path, kind, password)
        given = found if certificate is None else load_certificate_file(certificate)
        version = describe(material, 1, "imported", create_certificate(material, name) if given is None else given)
        return self._store_version(name, kind, purpose, version, material)

    def _rotate(self, name: str) -> KeyVersion:
        with self._making:
            info = self._info(name)
            material = generate_key(info.kind)
            number = info.current.version + 1
            version = describe(material, number, "generated", create_certificate(material, _subject(info)))
            self._keep(msgspec.structs.replace(info, versions=(*info.versions, version)), material)
            return version

    def _store_version(
        self, name: str, kind: KeyType, purpose: KeyPurpose, version: KeyVersion, material: Material
    ) -> KeyInfo:
        info = KeyInfo(uri=f"{SCHEME}:{name}", kind=kind, purpose=purpose, versions=(version,))
        with self._making:
            self._require_unused_name(name)
            self._keep(info, material)
        return info

    def _keep(self, info: KeyInfo, material: Material) -> None:
        """The last version's file first: it counts only once ``key.json`` names it."""
        folder = self._folder_of(_name(info))
        make_private_dir(folder)
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        sealed = self._aead.encrypt(nonce, to_bytes(material), _aad(info, info.current))
        write_atomic(folder / f"v{info.current.version}.key", _FORMAT + nonce + sealed)
        write_atomic(folder / _INFO, msgspec.json.encode(info))

    def _open(self, info: KeyInfo, number: int) -> Material:
        version = info.version(number)
        if version is None:
            raise NotFoundError(f"{info.uri} has no version {number}.", f"Its newest is {info.current.version}.")
        path = self._folder_of(_name(info)) / f"v{number}.key"
        try:
            data = path.read_bytes()
            head, sealed = data[: len(_FORMAT)], data[len(_FORMAT) :]
            if head != _FORMAT:
                raise _corrupted(path)
            plain = self._aead.decrypt(sealed[:_NONCE_LENGTH], sealed[_NONCE_LENGTH:], _aad(info, version))
        except (OSError, ValueError, InvalidTag) as error:
            raise _corrupted(path) from error
        return from_bytes(info.kind, plain)

    def _info(self, name: str) -> KeyInfo:
        path = self._folder_of(name) / _INFO
        try:
            data = path.read_bytes()
            info = msgspec.json.decode(data, type=KeyInfo)
        except FileNotFoundError:
            raise NotFoundError(f"There is no key {SCHEME}:{name}.", "Names are in lower case.") from None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _corrupted(path) from error
        if msgspec.json.encode(info) != data or info.uri != f"{SCHEME}:{name}" or not info.versions:
            raise _corrupted(path)
        return info

    def _require_unused_name(self, name: str) -> None:
        if (self._folder_of(name) / _INFO).exists():
            raise ConflictError(f"There is a key {SCHEME}:{name} already.", "Rotate it, or choose another name.")

    def _folder_of(self, name: str) -> Path:
        if not KEY_NAME.fullmatch(name):
            raise UsageError(f"{name!r} is not the name of a key.")
        return self._folder / name


class LocalSigner:
    """A private key of this process, bound to one algorithm."""

    def __init__(self, key: PrivateKey, algorithm: SigningAlgorithm) -> None:
        self._key = key
        self._algorithm = algorithm
        self._prehashed = SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST

    async def sign(self, data: bytes) -> bytes:
        return sign(self._key, self._algorithm, data, prehashed=self._prehashed)


def _aad(info: KeyInfo, version: KeyVersion) -> bytes:
    return canonical_json({"uri": info.uri, "kind": info.kind, "purpose": info.purpose, "version": version})


def _subject(info: KeyInfo) -> str:
    certificate = info.current.certificate
    subject = load_certificate(certificate.encode()).subject if certificate else ""
    return subject[:COMMON_NAME_LIMIT] or _name(info)


def _name(info: KeyInfo) -> str:
    return info.uri.removeprefix(f"{SCHEME}:")


def _corrupted(path: Path) -> KeyStoreCorruptedError:
    return KeyStoreCorruptedError(
        f"The key {path.parent.name} cannot be opened: {path.name} or {_INFO} is not what was written there.",
        "Put both back from a backup.",
    )
