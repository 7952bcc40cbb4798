"""A keyring in one encrypted file, for machines that have no keyring of their own."""

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

from sealyard.keys.files import make_private_dir, write_atomic
from sealyard.model.base import FrozenStruct
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError

_FORMAT = "sealyard keyring 1"
_NONCE_LENGTH = 12
_SALT_LENGTH = 16
_KEY_LENGTH = 32


class Argon2Params(FrozenStruct, frozen=True, kw_only=True):
    """Cost of Argon2id (RFC 9106); the defaults are its second recommended option (section 4).

    The limits are for files that are read: a damaged one must not exhaust the machine.
    """

    iterations: Annotated[int, Meta(ge=1, le=64)] = 3
    lanes: Annotated[int, Meta(ge=1, le=64)] = 4
    memory_kib: Annotated[int, Meta(ge=8, le=1 << 20)] = 65_536


DEFAULT_COST = Argon2Params()


class _EncryptedFile(FrozenStruct, frozen=True, kw_only=True):
    """The file. ``sha256`` (hex) over the other fields tells damage from a wrong passphrase; it guards nothing."""

    format: str
    cost: Argon2Params
    salt: bytes
    nonce: Annotated[bytes, Meta(min_length=_NONCE_LENGTH, max_length=_NONCE_LENGTH)]
    ciphertext: bytes
    sha256: str = ""

    def checksum(self) -> str:
        return sha256(canonical_json(msgspec.structs.replace(self, sha256=""))).hexdigest()

    def associated(self) -> bytes:
        return canonical_json({"format": self.format, "cost": self.cost, "salt": self.salt})


class EncryptedFileKeyring(KeyringBackend):
    """Passwords by service and user name in a file: AES-256-GCM under Argon2id of a passphrase.

    Raises :class:`KeyStoreLockedError` for a wrong passphrase and :class:`KeyStoreCorruptedError` where the file
    is not what was written.
    """

    # Never chosen by the keyring package on its own: it has no passphrase to give.
    priority = -1

    def __init__(self, path: Path, passphrase: str, cost: Argon2Params | None = None) -> None:
        # The base class would take settings from environment variables.
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
            raise PasswordDeleteError("There is no such password.")
        self._write(passwords)

    def _read(self) -> dict[str, dict[str, str]]:
        if not self._path.exists():
            return {}
        sealed = self._load()
        try:
            plain = AESGCM(self._key(sealed)).decrypt(sealed.nonce, sealed.ciphertext, sealed.associated())
        except InvalidTag:
            raise KeyStoreLockedError("The passphrase of the key store is wrong.", "Try again.") from None
        return msgspec.json.decode(plain, type=dict[str, dict[str, str]])

    def _load(self) -> _EncryptedFile:
        try:
            sealed = msgspec.json.decode(self._path.read_bytes(), type=_EncryptedFile)
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._corrupted() from error
        if sealed.checksum() != sealed.sha256 or sealed.format != _FORMAT:
            raise self._corrupted()
        return sealed

    def _write(self, passwords: dict[str, dict[str, str]]) -> None:
        blank = _EncryptedFile(
            format=_FORMAT,
            cost=self._cost,
            salt=secrets.token_bytes(_SALT_LENGTH),
            nonce=secrets.token_bytes(_NONCE_LENGTH),
            ciphertext=b"",
        )
        plain = msgspec.json.encode(passwords)
        ciphertext = AESGCM(self._key(blank)).encrypt(blank.nonce, plain, blank.associated())
        sealed = msgspec.structs.replace(blank, ciphertext=ciphertext)
        make_private_dir(self._path.parent)
        write_atomic(self._path, msgspec.json.encode(msgspec.structs.replace(sealed, sha256=sealed.checksum())))

    def _key(self, sealed: _EncryptedFile) -> bytes:
        cost = sealed.cost
        try:
            kdf = Argon2id(
                salt=sealed.salt,
                length=_KEY_LENGTH,
                iterations=cost.iterations,
                lanes=cost.lanes,
                memory_cost=cost.memory_kib,
            )
        except ValueError as error:
            raise self._corrupted() from error
        return kdf.derive(self._passphrase)

    def _corrupted(self) -> KeyStoreCorruptedError:
        return KeyStoreCorruptedError(f"{self._path.name} is not what was written there.", "Put it back from a backup.")
