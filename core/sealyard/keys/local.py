"""Key provider that stores keys in files encrypted with AES-256-GCM and bound to their public metadata.

The folder contains, for each key, ``<name>/key.json`` with the public metadata (kind, purpose, versions) and one file
per version (``<name>/v1.key``, ``v2.key``, …): a format line, a random nonce of 12 bytes, and the ciphertext with its
tag (NIST SP 800-38D). The associated data is the canonical JSON (RFC 8785) of the URI, kind and purpose of the key and
of the metadata of the version. If either file is modified, this is therefore detected when the key is used. A version
with a renewed certificate has a file of its own, with the same private key.

A symmetric key can also be wrapped with a key in a token or key service (:class:`sealyard.keys.provider.KeyWrapper`).
What is encrypted with the master key then is the wrapped key: using it takes both.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import UNSET

from sealyard.crypto.algorithms import CIPHERS, SIGNATURES, SigningInput
from sealyard.crypto.certificates import COMMON_NAME_LIMIT, create_certificate_request, load_certificate
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.protocols import ContentCipher
from sealyard.crypto.signatures import PrivateKey, sign
from sealyard.fs.atomic import storage_error, write_atomic
from sealyard.fs.locks import lock_file
from sealyard.fs.private import make_private_dir
from sealyard.keys.capabilities import describe_capabilities
from sealyard.keys.key_import import load_certificate_of, load_key
from sealyard.keys.master_key import verify_master_key
from sealyard.keys.material import (
    Material,
    compute_symmetric_fingerprint,
    create_certificate,
    describe,
    from_bytes,
    generate_key,
    to_bytes,
)
from sealyard.keys.provider import KeyWrapper, Signer
from sealyard.keys.wrapping import unwrap_secret, wrap_secret
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.base import JSON_ERRORS
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    KeyStoreCorruptedError,
    NotFoundError,
    UsageError,
)
from sealyard.model.key_uris import KEY_NAME, LOCAL_SCHEME
from sealyard.model.keys import KeyCapabilities, KeyInfo, KeyVersion

_FORMAT = b"sealyard key 1\n"
_NONCE_LENGTH = 12
_INFO_FILE = "key.json"
_LOCK_FILE = ".lock"
"""Locked while a version is created. No key has this name."""


class LocalKeyProvider:
    """The key provider of the scheme ``local``: a folder of files encrypted with a master key of 32 bytes.

    The constructor raises :class:`KeyStoreLockedError` if the folder was created with another master key. All methods
    raise :class:`KeyStoreCorruptedError`, which names the file, if a file is damaged, or if the file of a version that
    ``key.json`` lists is missing.
    """

    def __init__(self, folder: Path, master_key: bytes, wrapper: KeyWrapper | None = None) -> None:
        """Open the folder. ``wrapper``: gives access to keys that wrap local keys; without it, these are unusable."""
        try:
            make_private_dir(folder)
        except OSError as error:
            raise storage_error(error, "writing the key store") from error
        verify_master_key(folder, master_key)
        self._folder = folder
        self._aead = AESGCM(master_key)
        self._wrapper = wrapper

    async def close(self) -> None:
        """Do nothing: no file stays open."""

    async def probe(self) -> None:
        if not self._folder.is_dir():
            raise KeyStoreCorruptedError(
                "The folder of the local keys does not exist.", "Restore the workspace from a backup."
            )

    async def get_capabilities(self, name: str) -> KeyCapabilities:
        return describe_capabilities(self._read_info(name).kind)

    async def get_info(self, name: str) -> KeyInfo:
        return self._read_info(name)

    async def register(self, name: str, kind: KeyType, purpose: KeyPurpose, certificate: bytes | None) -> KeyInfo:
        info = self._read_info(name)
        if (info.kind, info.purpose) != (kind, purpose):
            raise InvalidKeyError(
                f"{info.uri} is a key of type {info.kind} for {info.purpose}.",
                "Register it with this type and purpose.",
            )
        if certificate is not None:
            await self.import_certificate(name, info.current.version, certificate)
        return self._read_info(name)

    async def generate(
        self, name: str, kind: KeyType, purpose: KeyPurpose, subject: str, wrapping_key: str = ""
    ) -> KeyInfo:
        """Generate version 1 of a new key. ``wrapping_key``: the URI of the key that wraps it, if it is symmetric."""
        self._require_unused_name(name)
        material = await asyncio.to_thread(generate_key, kind)
        version = describe(material, 1, "generated", create_certificate(material, subject))
        return await self._create_key(name, kind, purpose, version, material, wrapping_key)

    async def import_key(
        self,
        name: str,
        content: bytes,
        kind: KeyType,
        purpose: KeyPurpose,
        password: str | None,
        certificate: bytes | None,
        wrapping_key: str = "",
    ) -> KeyInfo:
        """Import version 1 of a new key. ``wrapping_key``: as for :meth:`generate`."""
        self._require_unused_name(name)
        material, certificate_data = await asyncio.to_thread(load_key, content, kind, password, certificate)
        version = describe(material, 1, "imported", certificate_data or create_certificate(material, name))
        return await self._create_key(name, kind, purpose, version, material, wrapping_key)

    async def rotate(self, name: str) -> KeyVersion:
        info = self._read_info(name)
        material = await asyncio.to_thread(generate_key, info.kind)
        certificate = create_certificate(material, _certificate_subject(info))
        version = describe(material, 1, "generated", certificate)
        wrapping_key = info.current.wrapped_by
        if wrapping_key is not UNSET:
            version, material = await self._wrap(info.uri, version, material, wrapping_key.uri)
        return await asyncio.to_thread(self._add_version, name, version, material)

    async def import_certificate(self, name: str, version: int, content: bytes) -> KeyVersion:
        return await asyncio.to_thread(self._import_certificate, name, version, content)

    async def create_certificate_request(self, name: str, version: int) -> str:
        info = self._read_info(name)
        key = self._load_private_key(info, version)
        return create_certificate_request(key, info.require_version(version).certificate or "")

    async def signer(self, name: str, version: int, algorithm: SigningAlgorithm, *, prehashed: bool = False) -> Signer:
        info = self._read_info(name)
        if info.kind not in SIGNATURES[algorithm].key_kinds:
            raise InvalidKeyError(
                f"{algorithm} does not support keys of type {info.kind}.",
                f"Use a key of type {' or '.join(SIGNATURES[algorithm].key_kinds)}.",
            )
        key = self._load_material(info, version)
        assert isinstance(key, PrivateKey)
        if prehashed and SIGNATURES[algorithm].hash is None:
            raise InvalidKeyError(f"{algorithm} signs the message, not a digest.", "Use a key of another type.")
        return LocalSigner(key, algorithm, prehashed=prehashed)

    async def cipher(self, name: str, version: int, algorithm: EncryptionAlgorithm) -> ContentCipher:
        info = self._read_info(name)
        if info.kind is not CIPHERS[algorithm].key_kind:
            raise InvalidKeyError(
                f"{algorithm} does not support keys of type {info.kind}.",
                f"Use a key of type {CIPHERS[algorithm].key_kind}.",
            )
        return AesCipher(algorithm, await self._load_symmetric(info, version))

    async def wrap(self, name: str, version: int, secret: bytes, associated_data: bytes) -> bytes:
        return wrap_secret(await self._load_wrapping_key(name, version), secret, associated_data)

    async def unwrap(self, name: str, version: int, wrapped: bytes, associated_data: bytes) -> bytes:
        return unwrap_secret(await self._load_wrapping_key(name, version), wrapped, associated_data)

    async def export_symmetric(self, name: str, version: int) -> bytes:
        info = self._read_info(name)
        if not info.kind.symmetric:
            raise InvalidKeyError(
                f"{info.uri} is a signing key.", "Use the certificate instead; private keys cannot be exported."
            )
        return await self._load_symmetric(info, version)

    async def _create_key(
        self,
        name: str,
        kind: KeyType,
        purpose: KeyPurpose,
        version: KeyVersion,
        material: Material,
        wrapping_key: str,
    ) -> KeyInfo:
        if wrapping_key:
            version, material = await self._wrap(f"{LOCAL_SCHEME}:{name}", version, material, wrapping_key)
        return await asyncio.to_thread(self._store_version, name, kind, purpose, version, material)

    async def _wrap(
        self, uri: str, version: KeyVersion, material: Material, wrapping_key: str
    ) -> tuple[KeyVersion, bytes]:
        """Return the version with its wrapping key, and the wrapped key."""
        if not isinstance(material, bytes):
            raise InvalidKeyError(
                f"{uri} is a signing key, which cannot be wrapped.", "Create it in the token or service itself."
            )
        wrapper = self._require_wrapper(uri)
        key, wrapped = await wrapper.wrap(wrapping_key, material, _wrapping_context(uri, version))
        return msgspec.structs.replace(version, wrapped_by=key), wrapped

    def _require_wrapper(self, uri: str) -> KeyWrapper:
        if self._wrapper is None:
            raise InvalidKeyError(f"{uri} needs a key in a token or service, and none can be used here.")
        return self._wrapper

    def _add_version(self, name: str, version: KeyVersion, material: Material) -> KeyVersion:
        """Store the version with the next number."""
        with self._lock():
            info = self._read_info(name)
            next_version = msgspec.structs.replace(version, version=info.current.version + 1)
            self._save(msgspec.structs.replace(info, versions=(*info.versions, next_version)), material)
            return next_version

    def _import_certificate(self, name: str, version_number: int, content: bytes) -> KeyVersion:
        with self._lock():
            info = self._read_info(name)
            key = self._load_private_key(info, version_number)
            version = describe(key, info.current.version + 1, "renewed", load_certificate_of(key.public_key(), content))
            if version.certificate_chain == info.current.certificate_chain:
                return info.current
            self._save(msgspec.structs.replace(info, versions=(*info.versions, version)), key)
            return version

    def _store_version(
        self, name: str, kind: KeyType, purpose: KeyPurpose, version: KeyVersion, material: Material
    ) -> KeyInfo:
        info = KeyInfo(uri=f"{LOCAL_SCHEME}:{name}", kind=kind, purpose=purpose, versions=(version,))
        with self._lock():
            self._require_unused_name(name)
            self._save(info, material)
        return info

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Lock the folder while a version is created: two workers must not write the same version of a key."""
        with ExitStack() as stack:
            try:
                stack.enter_context(lock_file(self._folder / _LOCK_FILE))
            except OSError as error:
                raise storage_error(error, "writing the key store") from error
            yield

    def _save(self, info: KeyInfo, material: Material) -> None:
        """Write the file of the current version, then ``key.json``.

        The order matters for crash safety: a version exists only once ``key.json`` lists it.
        """
        folder = self._key_dir(_key_name(info))
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        ciphertext = self._aead.encrypt(nonce, to_bytes(material), _associated_data(info, info.current))
        try:
            make_private_dir(folder)
            write_atomic(folder / f"v{info.current.version}.key", _FORMAT + nonce + ciphertext)
            write_atomic(folder / _INFO_FILE, msgspec.json.encode(info))
        except OSError as error:
            raise storage_error(error, "writing the key store") from error

    def _load_material(self, info: KeyInfo, version_number: int) -> Material:
        version = info.require_version(version_number)
        path = self._key_dir(_key_name(info)) / f"v{version_number}.key"
        try:
            data = path.read_bytes()
            header, encrypted_key = data[: len(_FORMAT)], data[len(_FORMAT) :]
            if header != _FORMAT:
                raise _corrupted_error(path)
            plaintext = self._aead.decrypt(
                encrypted_key[:_NONCE_LENGTH], encrypted_key[_NONCE_LENGTH:], _associated_data(info, version)
            )
        except (OSError, ValueError, InvalidTag) as error:
            raise _corrupted_error(path) from error
        return from_bytes(info.kind, plaintext)

    def _load_private_key(self, info: KeyInfo, version_number: int) -> PrivateKey:
        if info.kind.symmetric:
            raise InvalidKeyError(f"{info.uri} is a symmetric key, which has no certificate.", "Use a signing key.")
        key = self._load_material(info, version_number)
        assert isinstance(key, PrivateKey)
        return key

    async def _load_wrapping_key(self, name: str, version: int) -> bytes:
        info = self._read_info(name)
        if info.kind is not KeyType.AES_256:
            raise InvalidKeyError(f"{info.uri} cannot wrap secrets.", f"Use a key of type {KeyType.AES_256}.")
        return await self._load_symmetric(info, version)

    async def _load_symmetric(self, info: KeyInfo, version_number: int) -> bytes:
        key = self._load_material(info, version_number)
        assert isinstance(key, bytes)
        version = info.require_version(version_number)
        if version.wrapped_by is UNSET:
            return key
        wrapper = self._require_wrapper(info.uri)
        unwrapped_key = await wrapper.unwrap(version.wrapped_by, key, _wrapping_context(info.uri, version))
        if compute_symmetric_fingerprint(unwrapped_key) != version.fingerprint:
            # A breached key service could otherwise have firmware encrypted with a key of its own.
            raise InvalidKeyError(
                f"{version.wrapped_by.uri} returned another key than {info.uri} version {version_number}.",
                "Check the token or service before you use its keys again.",
            )
        return unwrapped_key

    def _read_info(self, name: str) -> KeyInfo:
        path = self._key_dir(name) / _INFO_FILE
        try:
            data = path.read_bytes()
            info = msgspec.json.decode(data, type=KeyInfo)
        except FileNotFoundError:
            raise NotFoundError(
                f"Key {LOCAL_SCHEME}:{name} not found.", "Check the name; key names are lowercase."
            ) from None
        except (OSError, *JSON_ERRORS) as error:
            raise _corrupted_error(path) from error
        if msgspec.json.encode(info) != data or info.uri != f"{LOCAL_SCHEME}:{name}" or not info.versions:
            raise _corrupted_error(path)
        return info

    def _require_unused_name(self, name: str) -> None:
        if (self._key_dir(name) / _INFO_FILE).exists():
            raise AlreadyExistsError(f"Key {LOCAL_SCHEME}:{name} already exists.", "Rotate it, or choose another name.")

    def _key_dir(self, name: str) -> Path:
        if not KEY_NAME.fullmatch(name):
            raise UsageError(f"Invalid key name {name!r}.")
        return self._folder / name


class LocalSigner:
    """A private key in this process, bound to one signature algorithm."""

    def __init__(self, key: PrivateKey, algorithm: SigningAlgorithm, *, prehashed: bool) -> None:
        self._key = key
        self._algorithm = algorithm
        self._prehashed = prehashed or SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST

    async def sign(self, data: bytes) -> bytes:
        return sign(self._key, self._algorithm, data, prehashed=self._prehashed)


def _associated_data(info: KeyInfo, version: KeyVersion) -> bytes:
    return canonical_json({"uri": info.uri, "kind": info.kind, "purpose": info.purpose, "version": version})


def _wrapping_context(uri: str, version: KeyVersion) -> bytes:
    """Return the associated data of a wrapped key: it cannot be used as another key or version."""
    return f"{uri}|{version.fingerprint}|device key".encode()


def _certificate_subject(info: KeyInfo) -> str:
    certificate = info.current.certificate
    subject = load_certificate(certificate.encode()).subject if certificate else ""
    return subject[:COMMON_NAME_LIMIT] or _key_name(info)


def _key_name(info: KeyInfo) -> str:
    return info.uri.removeprefix(f"{LOCAL_SCHEME}:")


def _corrupted_error(path: Path) -> KeyStoreCorruptedError:
    return KeyStoreCorruptedError(
        f"Cannot open the key {path.parent.name}: {path.name} or {_INFO_FILE} is damaged.",
        "Restore both files from a backup.",
    )
