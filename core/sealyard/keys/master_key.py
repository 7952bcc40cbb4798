"""Load, create and verify the master key of a workspace."""

from __future__ import annotations

import base64
import binascii
import hmac
import queue
import secrets
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec

from sealyard.fs.atomic import storage_error, write_atomic
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError, SealyardError, UsageError

OS_KEYRING = "os-keyring"
PASSPHRASE = "passphrase"  # noqa: S105
MASTER_KEY_LENGTH = 32
SERVICE = "sealyard"
KEYRING_FILE = "keyring.json"

# Only the keyrings of operating systems and desktops: other backends store passwords in plain text, do not store them,
# or prompt on the terminal.
TRUSTED_BACKENDS = frozenset(
    f"keyring.backends.{name}" for name in ("SecretService", "libsecret", "kwallet", "macOS", "Windows")
)

_KEYRING_TIMEOUT = 5.0
_T = TypeVar("_T")


class Keyring(Protocol):
    """What is used of a keyring: the OS keyring, or an encrypted file."""

    def get_password(self, service: str, username: str) -> str | None: ...
    def set_password(self, service: str, username: str, password: str) -> None: ...
    def delete_password(self, service: str, username: str) -> None: ...


KeyringCall = Callable[[Callable[[Keyring], Any]], Any]
"""Calls a function with the keyring that stores the master key, and returns its result."""


class OpenedKeyStore:
    """An opened key store: its master key (32 bytes), and the values that the key store keeps with it."""

    def __init__(self, call_keyring: KeyringCall, workspace_id: str, master_key: bytes) -> None:
        self.master_key = master_key
        self._call_keyring = call_keyring
        self._username = f"workspace {workspace_id} state"
        self._anchor_username = f"workspace {workspace_id} anchor"
        self._enrollment_username = f"workspace {workspace_id} enrollment"

    def load_state_epoch(self) -> str | None:
        """Return the identifier of the worker state that belongs to the key store, or None if it has none yet."""
        epoch: str | None = self._call_keyring(lambda keyring: keyring.get_password(SERVICE, self._username))
        return epoch

    def save_state_epoch(self, epoch: str) -> None:
        self._call_keyring(lambda keyring: keyring.set_password(SERVICE, self._username, epoch))

    def delete_state_epoch(self) -> None:
        """Forget the worker state: that of another host, from which the key store was copied."""
        if self.load_state_epoch() is not None:
            self._call_keyring(lambda keyring: keyring.delete_password(SERVICE, self._username))

    def load_enrollment(self) -> str | None:
        """Return the enrollment (JSON) that the key store of a crypto host has pinned, None if there is none."""
        text: str | None = self._call_keyring(lambda keyring: keyring.get_password(SERVICE, self._enrollment_username))
        return text

    def save_enrollment(self, text: str) -> None:
        self._call_keyring(lambda keyring: keyring.set_password(SERVICE, self._enrollment_username, text))

    def load_anchor(self) -> str | None:
        """Return the freshness anchor that the key store keeps, or None if it keeps none."""
        anchor: str | None = self._call_keyring(lambda keyring: keyring.get_password(SERVICE, self._anchor_username))
        return anchor

    def save_anchor(self, anchor: str) -> None:
        self._call_keyring(lambda keyring: keyring.set_password(SERVICE, self._anchor_username, anchor))

    def delete_anchor(self) -> None:
        """Remove the freshness anchor, if the key store keeps one."""
        if self.load_anchor() is not None:
            self._call_keyring(lambda keyring: keyring.delete_password(SERVICE, self._anchor_username))


def open_master_key(kind: str, folder: Path, workspace_id: str, passphrase: str | None, create: bool = False) -> bytes:
    """Return the master key of :func:`open_key_store`."""
    return open_key_store(kind, folder, workspace_id, passphrase, create).master_key


def open_key_store(
    kind: str, folder: Path, workspace_id: str, passphrase: str | None, create: bool = False
) -> OpenedKeyStore:
    """Open the key store of the workspace: an entry of the OS keyring, or the file ``folder/keyring.json``.

    ``kind`` is ``os-keyring`` or ``passphrase``. If ``create`` is true and there is no master key, a new one is
    created; an existing master key is never replaced.

    Raises :class:`KeyStoreLockedError` if the master key is missing or cannot be unlocked,
    :class:`KeyStoreCorruptedError` if the stored value is not a master key, and :class:`UsageError` for another
    ``kind``.
    """
    call_keyring = _select_keyring(kind, folder, passphrase)
    master_key: bytes = call_keyring(lambda keyring: _load_master_key(keyring, workspace_id, create))
    return OpenedKeyStore(call_keyring, workspace_id, master_key)


def os_keyring_available() -> bool:
    """Return whether this machine has a trusted OS keyring. Does not prompt the user."""
    try:
        _with_timeout(_find_os_keyring)
    except KeyStoreLockedError:
        return False
    return True


def call_os_keyring(operation: Callable[[Keyring], _T]) -> _T:
    """Call ``operation`` with the OS keyring, and return its result.

    Raises :class:`KeyStoreLockedError` if there is no trusted keyring, or if the keyring fails or does not respond in
    time.
    """
    return _with_timeout(lambda: operation(_find_os_keyring()))


def _select_keyring(kind: str, folder: Path, passphrase: str | None) -> KeyringCall:
    if kind == OS_KEYRING:
        return call_os_keyring
    if kind != PASSPHRASE:
        raise UsageError(f"Unknown key store {kind!r}.", f"Use {OS_KEYRING} or {PASSPHRASE}.")
    from sealyard.keys.file_keyring import EncryptedFileKeyring

    if not passphrase:
        raise KeyStoreLockedError("The key store requires its passphrase.", "Start again and enter it.")
    keyring = EncryptedFileKeyring(folder / KEYRING_FILE, passphrase)
    return lambda operation: operation(keyring)


def _load_master_key(keyring: Keyring, workspace_id: str, create: bool) -> bytes:
    username = f"workspace {workspace_id}"
    encoded_key = keyring.get_password(SERVICE, username)
    if encoded_key is not None:
        return _decode_master_key(encoded_key)
    if not create:
        raise KeyStoreLockedError(
            "The master key of this workspace is not in the key store.",
            "Open the workspace on the machine where it was created, or restore the key store from a backup.",
        )
    master_key = secrets.token_bytes(MASTER_KEY_LENGTH)
    keyring.set_password(SERVICE, username, base64.b64encode(master_key).decode())
    return master_key


def _decode_master_key(encoded_key: str) -> bytes:
    try:
        master_key = base64.b64decode(encoded_key, validate=True)
    except (binascii.Error, ValueError):
        master_key = b""
    if len(master_key) != MASTER_KEY_LENGTH:
        raise KeyStoreCorruptedError("The key store's entry for this workspace is not a valid master key.")
    return master_key


def _find_os_keyring() -> Keyring:
    import keyring
    from keyring.backends.chainer import ChainerBackend

    default_keyring = keyring.get_keyring()
    backends: list[Keyring] = (
        list(default_keyring.backends) if isinstance(default_keyring, ChainerBackend) else [default_keyring]
    )
    for backend in backends:
        if type(backend).__module__ in TRUSTED_BACKENDS:
            return backend
    raise KeyStoreLockedError("No OS keyring available on this machine.", "Use a passphrase instead.")


def _with_timeout(operation: Callable[[], _T]) -> _T:
    """Run ``operation`` in a daemon thread and return its result.

    Raises :class:`KeyStoreLockedError` after ``_KEYRING_TIMEOUT`` seconds, because a keyring may block on a prompt that
    the user cannot see. Also raises it if ``operation`` raises an exception other than :class:`SealyardError`.
    """
    results: queue.SimpleQueue[_T | Exception] = queue.SimpleQueue()

    def run_operation() -> None:
        try:
            results.put(operation())
        except Exception as error:  # keyring backends raise platform-specific exceptions
            results.put(error)

    threading.Thread(target=run_operation, name="os-keyring", daemon=True).start()
    try:
        result = results.get(timeout=_KEYRING_TIMEOUT)
    except queue.Empty:
        raise KeyStoreLockedError(
            f"The OS keyring did not respond within {_KEYRING_TIMEOUT:.0f} seconds.",
            "Unlock it, and check whether it shows a prompt on the desktop.",
        ) from None
    if isinstance(result, SealyardError):
        raise result
    if isinstance(result, Exception):
        raise KeyStoreLockedError(f"The OS keyring failed ({type(result).__name__}).", "Unlock it and try again.")
    return result


_CHECK_FILE = ".master-key-check.json"  # cannot collide with a key, because key names do not start with a dot


class _MasterKeyCheck(FrozenStruct, frozen=True, kw_only=True):
    """The check value stored in a key folder, to recognize the master key of the folder.

    ``check`` is an HMAC with the master key. ``sha256`` is a checksum of ``check``, which distinguishes a damaged
    file from another master key.
    """

    check: str
    sha256: str


def verify_master_key(folder: Path, master_key: bytes) -> None:
    """Check that ``folder`` belongs to ``master_key``; in an empty folder, store a check value first.

    Raises :class:`KeyStoreLockedError` if the folder was created with another master key,
    :class:`KeyStoreCorruptedError` if the check value is missing or damaged, and :class:`StorageError` if the check
    value cannot be stored.
    """
    path = folder / _CHECK_FILE
    check = hmac.digest(master_key, b"sealyard master key check", "sha256").hex()
    if not path.exists() and not any(folder.iterdir()):
        _store_check(path, check)
    try:
        stored_check = msgspec.json.decode(path.read_bytes(), type=_MasterKeyCheck)
    except (OSError, *JSON_ERRORS) as error:
        raise _corrupted_error() from error
    if _checksum(stored_check.check) != stored_check.sha256:
        raise _corrupted_error()
    if not hmac.compare_digest(stored_check.check, check):
        raise KeyStoreLockedError(
            "The keys of this workspace were created with a different master key.",
            "Open it on the machine where it was created, or restore its key store from a backup.",
        )


def _store_check(path: Path, check: str) -> None:
    try:
        write_atomic(path, msgspec.json.encode(_MasterKeyCheck(check=check, sha256=_checksum(check))))
    except OSError as error:
        raise storage_error(error, "writing the key store") from error


def _checksum(check: str) -> str:
    return sha256(check.encode()).hexdigest()


def _corrupted_error() -> KeyStoreCorruptedError:
    return KeyStoreCorruptedError(f"{_CHECK_FILE} of the key store is missing or damaged.", "Restore it from a backup.")
