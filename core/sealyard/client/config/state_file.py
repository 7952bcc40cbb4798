"""What a front end remembers between starts: small JSON files that several processes may share."""

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
    """A file below platformdirs' ``user_state_dir``, for this ``kind`` of memory and this ``key`` (any texts)."""
    from platformdirs import user_state_path

    name = hashlib.sha256(msgspec.json.encode(key)).hexdigest()[:32]
    return user_state_path("sealyard") / kind / f"{name}.json"


class StateFile(Generic[T]):
    """One value in a file (mode 0600), replaced as a whole. A damaged file is set aside, and ``warning`` says so."""

    def __init__(self, path: Path, empty: T) -> None:
        """``empty``: what holds while there is no file."""
        self.path = path
        self.warning = ""
        self._empty = empty

    def read(self) -> T:
        """Raises :class:`StorageError`."""
        try:
            return self._load()
        except FileNotFoundError:
            return self._empty
        except msgspec.DecodeError:
            return self.update(lambda same: same)
        except OSError as error:
            raise disk.storage_error(error, f"a look at {self.path}") from error

    def update(self, step: Callable[[T], T]) -> T:
        """Reads, changes and writes, with no other process in between. Raises :class:`StorageError`."""
        try:
            disk.make_private_dir(self.path.parent)
            with self._locked():
                changed = step(self._load_or_reset())
                self._store(changed)
        except OSError as error:
            raise disk.storage_error(error, f"a note in {self.path}") from error
        return changed

    def _load(self) -> T:
        return msgspec.json.decode(self.path.read_bytes(), type=type(self._empty))

    def _load_or_reset(self) -> T:
        try:
            return self._load()
        except FileNotFoundError:
            return self._empty
        except msgspec.DecodeError:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            disk.rename(self.path, aside)
            self.warning = f"{self.path} was damaged and was begun anew; the old one is kept as {aside.name}."
            return self._empty

    def _store(self, value: T) -> None:
        fresh = self.path.with_name(f"{self.path.name}.new")
        fd = disk.create_private_file(fresh)
        try:
            disk.write_all(fd, msgspec.json.encode(value))
            disk.sync(fd)
        finally:
            os.close(fd)
        disk.rename(fresh, self.path)
        disk.sync_folder(self.path.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A file beside it is locked, for the file itself is replaced. Held for one small write only."""
        fd = disk.create_private_file(self.path.with_name(f"{self.path.name}.lock"))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)
