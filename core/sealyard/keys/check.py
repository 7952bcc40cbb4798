"""How a folder of keys knows its master key, so that a wrong one is not taken for damage."""

from __future__ import annotations

import hmac
from hashlib import sha256
from pathlib import Path

import msgspec

from sealyard.keys.files import write_atomic
from sealyard.model.errors import KeyStoreCorruptedError, KeyStoreLockedError
from sealyard.model.value import FrozenStruct

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
