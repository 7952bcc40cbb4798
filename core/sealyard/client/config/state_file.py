"""State that a front end keeps between runs, in small JSON files that several processes may share."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from sealyard.fs import atomic as disk
from sealyard.model.base import FrozenStruct

T = TypeVar("T", bound=FrozenStruct)


def state_path(kind: str, *key: str) -> Path:
    """Return the path of a state file in platformdirs' ``user_state_dir``.

    ``kind`` is the name of the subfolder; ``key``, any number of arbitrary strings, identifies the file in it.
    """
    from platformdirs import user_state_path

    name = hashlib.sha256(msgspec.json.encode(key)).hexdigest()[:32]
    return user_state_path("sealyard") / kind / f"{name}.json"


class StateFile(Generic[T]):
    """A file (mode 0600) that stores one value and is replaced atomically.

    A damaged file is renamed and replaced by the empty value; ``warning`` then contains a message for the user.
    """

    def __init__(self, path: Path, empty: T) -> None:
        """Use the file at ``path``. ``empty`` is the value while the file does not exist."""
        self.path = path
        self.warning = ""
        self._empty = empty

    def read(self) -> T:
        """Return the stored value, or the empty value if the file does not exist.

        Renames and replaces a damaged file. Raises :class:`StorageError` if the file cannot be read or replaced.
        """
        try:
            return self._load()
        except FileNotFoundError:
            return self._empty
        except msgspec.DecodeError:
            return self.update(lambda value: value)
        except OSError as error:
            raise disk.storage_error(error, f"reading {self.path}") from error

    def update(self, step: Callable[[T], T]) -> T:
        """Replace the stored value by ``step(value)`` and return the new value.

        No other process can change the file between the read and the write. Raises :class:`StorageError` if the file
        cannot be read or written.
        """
        try:
            disk.make_private_dir(self.path.parent)
            with self._locked():
                new_value = step(self._load_or_reset())
                self._store(new_value)
        except OSError as error:
            raise disk.storage_error(error, f"writing {self.path}") from error
        return new_value

    def _load(self) -> T:
        return msgspec.json.decode(self.path.read_bytes(), type=type(self._empty))

    def _load_or_reset(self) -> T:
        try:
            return self._load()
        except FileNotFoundError:
            return self._empty
        except msgspec.DecodeError:
            damaged_path = self.path.with_name(f"{self.path.name}.damaged")
            disk.rename(self.path, damaged_path)
            self.warning = f"{self.path} was damaged and has been reset; the old file is kept as {damaged_path.name}."
            return self._empty

    def _store(self, value: T) -> None:
        new_path = self.path.with_name(f"{self.path.name}.new")
        fd = disk.create_private_file(new_path)
        try:
            disk.write_all(fd, msgspec.json.encode(value))
            disk.sync(fd)
        finally:
            os.close(fd)
        disk.rename(new_path, self.path)
        disk.sync_folder(self.path.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock for one small write.

        Locks a separate file next to the state file, because the state file itself is replaced on every write.
        """
        fd = disk.create_private_file(self.path.with_name(f"{self.path.name}.lock"))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)
