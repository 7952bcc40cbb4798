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
from msgspec import Meta

from sealyard.fs.atomic import storage_error, write_atomic
from sealyard.fs.private import make_private_dir
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError

_FORMAT = "sealyard keyring 1"
_NONCE_LENGTH = 12
_SALT_LENGTH = 16
_KEY_LENGTH = 32


class Argon2Params(FrozenStruct, frozen=True, kw_only=True):
    """Cost parameters of Argon2id (RFC 9106). The defaults are the second recommended option in section 4.

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


class EncryptedFileKeyring:
    """Stores passwords by service and user name in a file, encrypted with AES-256-GCM.

    The encryption key is derived from ``passphrase`` (NFC-normalized, UTF-8) with Argon2id. A file keeps the salt and
    the cost with which it was created, so that a process derives the key once, however often it writes.

    All methods raise :class:`KeyStoreLockedError` if the passphrase is wrong, and :class:`KeyStoreCorruptedError` if
    the file is damaged.
    """

    def __init__(self, path: Path, passphrase: str, cost: Argon2Params | None = None) -> None:
        self._path = path
        self._passphrase = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogateescape")
        self._cost = cost or DEFAULT_COST
        self._derived_key: tuple[bytes, bytes] | None = None
        """The associated data for which a key was derived, and the key: deriving it takes long."""

    def get_password(self, service: str, username: str) -> str | None:
        return self._read_passwords().get(service, {}).get(username)

    def set_password(self, service: str, username: str, password: str) -> None:
        passwords = self._read_passwords()
        passwords.setdefault(service, {})[username] = password
        self._write_passwords(passwords)

    def delete_password(self, service: str, username: str) -> None:
        """Delete a password, if the file contains it."""
        passwords = self._read_passwords()
        if passwords.get(service, {}).pop(username, None) is not None:
            self._write_passwords(passwords)

    def _read_passwords(self) -> dict[str, dict[str, str]]:
        if not self._path.exists():
            return {}
        encrypted_file = self._load_file()
        try:
            plaintext = AESGCM(self._derive_key(encrypted_file)).decrypt(
                encrypted_file.nonce, encrypted_file.ciphertext, encrypted_file.associated_data()
            )
        except InvalidTag:
            raise KeyStoreLockedError("Wrong passphrase for the key store.", "Try again.") from None
        return msgspec.json.decode(plaintext, type=dict[str, dict[str, str]])

    def _load_file(self) -> _EncryptedFile:
        try:
            encrypted_file = msgspec.json.decode(self._path.read_bytes(), type=_EncryptedFile)
        except (OSError, *JSON_ERRORS) as error:
            raise self._corrupted_error() from error
        if encrypted_file.checksum() != encrypted_file.sha256 or encrypted_file.format != _FORMAT:
            raise self._corrupted_error()
        return encrypted_file

    def _write_passwords(self, passwords: dict[str, dict[str, str]]) -> None:
        header = self._build_header()
        plaintext = msgspec.json.encode(passwords)
        ciphertext = AESGCM(self._derive_key(header)).encrypt(header.nonce, plaintext, header.associated_data())
        encrypted_file = msgspec.structs.replace(header, ciphertext=ciphertext)
        encrypted_file = msgspec.structs.replace(encrypted_file, sha256=encrypted_file.checksum())
        try:
            make_private_dir(self._path.parent)
            write_atomic(self._path, msgspec.json.encode(encrypted_file))
        except OSError as error:
            raise storage_error(error, "writing the key store") from error

    def _build_header(self) -> _EncryptedFile:
        nonce = secrets.token_bytes(_NONCE_LENGTH)
        if self._path.exists():
            return msgspec.structs.replace(self._load_file(), nonce=nonce, ciphertext=b"")
        salt = secrets.token_bytes(_SALT_LENGTH)
        return _EncryptedFile(format=_FORMAT, cost=self._cost, salt=salt, nonce=nonce, ciphertext=b"")

    def _derive_key(self, encrypted_file: _EncryptedFile) -> bytes:
        parameters = encrypted_file.associated_data()
        if self._derived_key is None or self._derived_key[0] != parameters:
            self._derived_key = parameters, self._compute_key(encrypted_file)
        return self._derived_key[1]

    def _compute_key(self, encrypted_file: _EncryptedFile) -> bytes:
        cost = encrypted_file.cost
        try:
            kdf = Argon2id(
                salt=encrypted_file.salt,
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
