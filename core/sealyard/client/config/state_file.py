"""State that a front end keeps between runs, in small JSON files that several processes may share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from sealyard.fs import atomic
from sealyard.fs.locks import lock_file
from sealyard.fs.private import make_private_dir
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.errors import StorageError
from sealyard.model.safe_text import escape_text

T = TypeVar("T", bound=FrozenStruct)


def state_path(kind: str, *key: str) -> Path:
    """Return the path of a state file in platformdirs' ``user_state_dir``.

    ``kind`` is the name of the subfolder; the strings in ``key`` together identify the file in it.
    """
    from platformdirs import user_state_path

    name = hashlib.sha256(msgspec.json.encode(key)).hexdigest()[:32]
    return user_state_path("sealyard") / kind / f"{name}.json"


def remove_stale_user_files() -> None:
    """Remove the temporary files that killed processes left in the user's state and configuration folders."""
    from platformdirs import user_config_path, user_state_path

    atomic.remove_stale_files((user_config_path("sealyard"), *user_state_path("sealyard").glob("*/")))


class StateFile(Generic[T]):
    """A file (mode 0600) that stores one value and is replaced atomically.

    A damaged file is renamed and replaced by the empty value; ``warning`` then contains a message for the user.
    """

    def __init__(self, path: Path, empty_value: T) -> None:
        """Use the file at ``path``. ``empty_value`` is the value while the file does not exist."""
        self.path = path
        self.warning = ""
        self._empty_value = empty_value

    def read(self) -> T:
        """Return the stored value, or the empty value if the file does not exist.

        Renames and replaces a damaged file. Raises :class:`StorageError` if the file cannot be read or replaced.
        """
        try:
            return self._load()
        except (FileNotFoundError, NotADirectoryError):  # NotADirectoryError: HOME=/dev/null
            return self._empty_value
        except JSON_ERRORS:
            return self.update(lambda value: value)
        except OSError as error:
            raise self._error(error, "read") from error

    def update(self, transform: Callable[[T], T]) -> T:
        """Replace the stored value by ``transform(value)`` and return the new value.

        No other process can change the file between the read and the write. Raises :class:`StorageError` if the file
        cannot be read or written.
        """
        try:
            make_private_dir(self.path.parent)
            # The state file itself is replaced on every write, so a separate file is locked.
            with lock_file(self.path.with_name(f"{self.path.name}.lock")):
                new_value = transform(self._load_or_reset())
                atomic.write_atomic(self.path, msgspec.json.encode(new_value))
        except OSError as error:
            raise self._error(error, "write") from error
        return new_value

    def _error(self, error: OSError, action: str) -> StorageError:
        if atomic.is_disk_full(error):
            return atomic.storage_error(error, f"writing {self.path}")
        return StorageError(
            f"Cannot {action} {escape_text(str(self.path))} ({escape_text(error.strerror or '')}).",
            "Check its permissions, or set XDG_STATE_HOME to a folder that you can write to.",
        )

    def _load(self) -> T:
        return msgspec.json.decode(self.path.read_bytes(), type=type(self._empty_value))

    def _load_or_reset(self) -> T:
        try:
            return self._load()
        except FileNotFoundError:
            return self._empty_value
        except JSON_ERRORS:
            damaged_path = self.path.with_name(f"{self.path.name}.damaged")
            atomic.rename(self.path, damaged_path)
            self.warning = f"{self.path} was damaged and has been reset; the old file is kept as {damaged_path.name}."
            return self._empty_value
