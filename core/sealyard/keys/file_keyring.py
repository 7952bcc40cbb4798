"""A keyring in one encrypted file, for machines without an OS keyring."""

from __future__ import annotations

import secrets
import unicodedata
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError
from msgspec import Meta

from sealyard.fs.atomic import storage_error, write_atomic
from sealyard.fs.private import make_private_dir
from sealyard.model.base import FrozenStruct
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError

_FORMAT = "sealyard keyring 1"
_NONCE_LENGTH = 12
_SALT_LENGTH = 16
_KEY_LENGTH = 32


class Argon2Params(FrozenStruct, frozen=True, kw_only=True):
    """Cost parameters of Argon2id (RFC 9106). The defaults are the second recommended option of its section 4.

    The upper limits apply when a file is read, so that a damaged file cannot exhaust memory or CPU.
    """

    iterations: Annotated[int, Meta(ge=1, le=64)] = 3
    lanes: Annotated[int, Meta(ge=1, le=64)] = 4
    memory_kib: Annotated[int, Meta(ge=8, le=1 << 20)] = 65_536


DEFAULT_COST = Argon2Params()


class _EncryptedFile(FrozenStruct, frozen=True, kw_only=True):
    """Contents of the keyring file.

    ``sha256`` is a checksum (hex) of the other fields. It distinguishes a damaged file from a wrong passphrase; it
    does not protect against tampering.
    """

    format: str
    cost: Argon2Params
    salt: bytes
    nonce: Annotated[bytes, Meta(min_length=_NONCE_LENGTH, max_length=_NONCE_LENGTH)]
    ciphertext: bytes
    sha256: str = ""

    def checksum(self) -> str:
        return sha256(canonical_json(msgspec.structs.replace(self, sha256=""))).hexdigest()

    def associated_data(self) -> bytes:
        return canonical_json({"format": self.format, "cost": self.cost, "salt": self.salt})


class EncryptedFileKeyring(KeyringBackend):
    """Stores passwords by service and user name in a file, encrypted with AES-256-GCM.

    The encryption key is derived from ``passphrase`` (NFC-normalized, UTF-8) with Argon2id.

    All methods raise :class:`KeyStoreLockedError` if the passphrase is wrong, and :class:`KeyStoreCorruptedError` if
    the file is damaged.
    """

    # Negative, so that the keyring package never selects this backend automatically: it has no passphrase for it.
    priority = -1

    def __init__(self, path: Path, passphrase: str, cost: Argon2Params | None = None) -> None:
        # Does not call the constructor of the base class, because that reads settings from environment variables.
        self._path = path
        self._passphrase = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
        self._cost = cost or DEFAULT_COST

    def get_password(self, service: str, username: str) -> str | None:
        return self._read().get(service, {}).get(username)

    def set_password(self, service: str, username: str, password: str) -> None:
        passwords = self._read()
        passwords.setdefault(service, {})[username] = password
        self._write(passwords)

    def delete_password(self, service: str, username: str) -> None:
        passwords = self._read()
        if passwords.get(service, {}).pop(username, None) is None:
            raise PasswordDeleteError("The password does not exist.")
        self._write(passwords)

    def _read(self) -> dict[str, dict[str, str]]:
        if not self._path.exists():
            return {}
        encrypted = self._load()
        try:
            plain = AESGCM(self._derive_key(encrypted)).decrypt(
                encrypted.nonce, encrypted.ciphertext, encrypted.associated_data()
            )
        except InvalidTag:
            raise KeyStoreLockedError("Wrong passphrase for the key store.", "Try again.") from None
        return msgspec.json.decode(plain, type=dict[str, dict[str, str]])

    def _load(self) -> _EncryptedFile:
        try:
            encrypted = msgspec.json.decode(self._path.read_bytes(), type=_EncryptedFile)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._corrupted_error() from error
        if encrypted.checksum() != encrypted.sha256 or encrypted.format != _FORMAT:
            raise self._corrupted_error()
        return encrypted

    def _write(self, passwords: dict[str, dict[str, str]]) -> None:
        header = _EncryptedFile(
            format=_FORMAT,
            cost=self._cost,
            salt=secrets.token_bytes(_SALT_LENGTH),
            nonce=secrets.token_bytes(_NONCE_LENGTH),
            ciphertext=b"",
        )
        plain = msgspec.json.encode(passwords)
        ciphertext = AESGCM(self._derive_key(header)).encrypt(header.nonce, plain, header.associated_data())
        encrypted = msgspec.structs.replace(header, ciphertext=ciphertext)
        encrypted = msgspec.structs.replace(encrypted, sha256=encrypted.checksum())
        try:
            make_private_dir(self._path.parent)
            write_atomic(self._path, msgspec.json.encode(encrypted))
        except OSError as error:
            raise storage_error(error, "writing the key store") from error

    def _derive_key(self, encrypted: _EncryptedFile) -> bytes:
        cost = encrypted.cost
        try:
            kdf = Argon2id(
                salt=encrypted.salt,
                length=_KEY_LENGTH,
                iterations=cost.iterations,
                lanes=cost.lanes,
                memory_cost=cost.memory_kib,
            )
        except ValueError as error:
            raise self._corrupted_error() from error
        return kdf.derive(self._passphrase)

    def _corrupted_error(self) -> KeyStoreCorruptedError:
        return KeyStoreCorruptedError(f"{self._path.name} is damaged.", "Restore it from a backup.")
