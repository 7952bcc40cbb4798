"""The master key: where it is kept, and how it is fetched."""

from __future__ import annotations

import base64
import binascii
import queue
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError, SealyardError, UsageError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend
import hmac
from hashlib import sha256

import msgspec

from sealyard.keys.files import write_atomic
from sealyard.model.base import FrozenStruct

OS_KEYRING = "os-keyring"
PASSPHRASE = "passphrase"  # noqa: S105
MASTER_KEY_LENGTH = 32
SERVICE = "sealyard"
KEYRING_FILE = "keyring.json"

# Those of the operating systems and desktops. Others keep plain text, keep nothing, or ask on the terminal.
TRUSTED_BACKENDS = frozenset(
    f"keyring.backends.{name}" for name in ("SecretService", "libsecret", "kwallet", "macOS", "Windows")
)

_KEYRING_TIMEOUT = 5.0
_T = TypeVar("_T")


def open_master_key(kind: str, folder: Path, workspace_id: str, passphrase: str | None, create: bool = False) -> bytes:
    """The workspace's master key, 32 bytes, from the OS keyring or the file ``folder/keyring.json``.

    ``kind`` is ``os-keyring`` or ``passphrase``. With ``create`` one is made where there is none; an old one is
    never replaced. Raises :class:`KeyStoreLockedError` where it cannot be had, :class:`KeyStoreCorruptedError`
    where what is kept is not a master key.
    """
    if kind == PASSPHRASE:
        return _from_file(folder, workspace_id, passphrase, create)
    if kind == OS_KEYRING:
        return call_os_keyring(lambda keyring: _fetch(keyring, workspace_id, create))
    raise UsageError(f"{kind!r} is no kind of key store.", f"There is {OS_KEYRING} and {PASSPHRASE}.")


def os_keyring_available() -> bool:
    """Whether this machine has a keyring that keeps secrets; asks nobody anything."""
    try:
        _with_timeout(_os_keyring)
    except KeyStoreLockedError:
        return False
    return True


def call_os_keyring(use: Callable[[KeyringBackend], _T]) -> _T:
    """What ``use`` gives. Raises :class:`KeyStoreLockedError` where there is none, or it does not answer in time."""
    return _with_timeout(lambda: use(_os_keyring()))


def _from_file(folder: Path, workspace_id: str, passphrase: str | None, create: bool) -> bytes:
    from sealyard.keys.file_keyring import EncryptedFileKeyring

    if not passphrase:
        raise KeyStoreLockedError("The key store needs its passphrase.", "Start again and give it.")
    return _fetch(EncryptedFileKeyring(folder / KEYRING_FILE, passphrase), workspace_id, create)


def _fetch(keyring: KeyringBackend, workspace_id: str, create: bool) -> bytes:
    user = f"workspace {workspace_id}"
    kept = keyring.get_password(SERVICE, user)
    if kept is not None:
        return _decode(kept)
    if not create:
        raise KeyStoreLockedError(
            "The master key of this workspace is not in the key store.",
            "Open the workspace where it was made, or put the key store back from a backup.",
        )
    master_key = secrets.token_bytes(MASTER_KEY_LENGTH)
    keyring.set_password(SERVICE, user, base64.b64encode(master_key).decode())
    return master_key


def _decode(kept: str) -> bytes:
    try:
        master_key = base64.b64decode(kept, validate=True)
    except (binascii.Error, ValueError):
        master_key = b""
    if len(master_key) != MASTER_KEY_LENGTH:
        raise KeyStoreCorruptedError("What the key store keeps for this workspace is not a master key.")
    return master_key


def _os_keyring() -> KeyringBackend:
    import keyring
    from keyring.backends.chainer import ChainerBackend

    chosen = keyring.get_keyring()
    found: list[KeyringBackend] = list(chosen.backends) if isinstance(chosen, ChainerBackend) else [chosen]
    for backend in found:
        if type(backend).__module__ in TRUSTED_BACKENDS:
            return backend
    raise KeyStoreLockedError("This machine has no OS keyring that keeps secrets.", "Use a passphrase instead.")


def _with_timeout(call: Callable[[], _T]) -> _T:
    """What ``call`` answers; a keyring can hang on a prompt that nobody sees."""
    answers: queue.SimpleQueue[_T | Exception] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(call())
        except Exception as error:  # back ends raise what their system raises
            answers.put(error)

    threading.Thread(target=run, name="os-keyring", daemon=True).start()
    try:
        answer = answers.get(timeout=_KEYRING_TIMEOUT)
    except queue.Empty:
        raise KeyStoreLockedError(
            f"The OS keyring does not answer within {_KEYRING_TIMEOUT:.0f} seconds.",
            "Unlock it, and see whether it shows a question on the desktop.",
        ) from None
    if isinstance(answer, SealyardError):
        raise answer
    if isinstance(answer, Exception):
        raise KeyStoreLockedError(f"The OS keyring refused ({type(answer).__name__}).", "Unlock it and try again.")
    return answer


_CHECK_FILE = ".master-key-check.json"  # no key's name begins with a dot


class _MasterKeyCheck(FrozenStruct, frozen=True, kw_only=True):
    """What a folder keeps to know its master key: an HMAC by it, and a checksum to tell damage from another key."""

    check: str
    sha256: str


def verify_master_key(folder: Path, master_key: bytes) -> None:
    """Remembers the master key of an empty folder; of another one, checks that this is it.

    Raises :class:`KeyStoreLockedError` for another master key, :class:`KeyStoreCorruptedError` where the folder
    cannot tell.
    """
    path = folder / _CHECK_FILE
    check = hmac.digest(master_key, b"sealyard master key check", "sha256").hex()
    if not path.exists() and not any(folder.iterdir()):
        write_atomic(path, msgspec.json.encode(_MasterKeyCheck(check=check, sha256=_checksum(check))))
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=_MasterKeyCheck)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _check_damaged() from error
    if _checksum(kept.check) != kept.sha256:
        raise _check_damaged()
    if not hmac.compare_digest(kept.check, check):
        raise KeyStoreLockedError(
            "The keys of this workspace were made under another master key.",
            "Open it where it was made, or put its key store back from a backup.",
        )


def _checksum(check: str) -> str:
    return sha256(check.encode()).hexdigest()


def _check_damaged() -> KeyStoreCorruptedError:
    return KeyStoreCorruptedError(
        f"{_CHECK_FILE} of the key store is missing or not what was written there.", "Put it back from a backup."
    )
