"""Read the store without its key, also while another process writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sealyard.model.errors import StorageError, StoreCorruptedError
from sealyard.model.safe_text import escape_text
from sealyard.storage.frame_format import EncodedBatch
from sealyard.storage.generation import LoadedGeneration, Position, load, load_since, newest_generation

_LOAD_ATTEMPTS = 5  # a reader retries if a writer compacts the store or rolls back a write meanwhile


class LoadedStore(Protocol):
    """The content of a store: its documents, the audit entries that are not in the audit log yet, and the events."""

    @property
    def tables(self) -> dict[str, dict[str, bytes]]: ...

    @property
    def audit(self) -> list[bytes]: ...

    @property
    def events(self) -> list[bytes]: ...


class StoreSource(Protocol):
    """Reads a store that another process may write. The documents are not verified."""

    def load(self) -> LoadedStore:
        """Load the whole store.

        Raises :class:`StoreCorruptedError` if it is damaged, :class:`WorkspaceError` if there is none or it has a newer
        format, and :class:`StorageError` if it cannot be read.
        """
        ...

    def load_new_batches(self) -> list[EncodedBatch] | None:
        """Return what was committed since the last call; None if the whole store must be loaded again.

        Raises :class:`StorageError` if the store cannot be read.
        """
        ...

    def close(self) -> None: ...


class StoreReader:
    """Reads the store in a folder; see :class:`StoreSource`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._position = Position(0, 0, 0)

    def load(self) -> LoadedGeneration:
        """Load the newest generation."""
        loaded_generation = self._load_with_retry()
        self._position = loaded_generation.position
        return loaded_generation

    def load_new_batches(self) -> list[EncodedBatch] | None:
        try:
            if newest_generation(self._folder) != self._position.generation:
                return None
            batches, self._position = load_since(self._folder, self._position)
        except (FileNotFoundError, StoreCorruptedError):
            return None  # a compaction removed the files or a rollback shortened them
        except OSError as error:
            raise self._read_error(error) from error
        return batches

    def close(self) -> None:
        """Do nothing: each file is closed after it was read."""

    def _load_with_retry(self) -> LoadedGeneration:
        """Load the newest generation; retry if a writer compacts the store or rolls back a write meanwhile."""
        for attempt in range(_LOAD_ATTEMPTS):
            try:
                return load(self._folder)
            except (FileNotFoundError, StoreCorruptedError) as error:
                if attempt == _LOAD_ATTEMPTS - 1 and isinstance(error, StoreCorruptedError):
                    raise
            except OSError as error:
                raise self._read_error(error) from error
        raise StorageError("Cannot read the store: it changed during every attempt.", "Try again.")

    def _read_error(self, error: OSError) -> StorageError:
        return StorageError(
            f"Cannot read the store in {escape_text(str(self._folder))} ({escape_text(error.strerror or '')}).",
            "Check that the workspace belongs to you and that its disk works.",
        )
