"""The interface of journals, which make the commits of a document store durable."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from sealyard.model.cluster import HeldLease
from sealyard.model.errors import ConcurrentWriterError
from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.frame_format import EncodedBatch

Tables = Mapping[str, Mapping[str, bytes]]
"""By table name and document id: the document as JSON."""


class Compaction(Protocol):
    """A new generation that is being written, with the documents as of the start of the compaction."""

    def write_snapshot(self, tables: Tables) -> None:
        """Write all documents. Another thread can call :meth:`Journal.append` meanwhile.

        Raises :class:`StorageError` if they cannot be written; the journal is unchanged then.
        """
        ...

    def finish(self, carry_over: EncodedBatch) -> None:
        """Switch to the new generation, which starts with ``carry_over`` and the commits since the start.

        Raises the errors of :meth:`Journal.append`.
        """
        ...


class Journal(Protocol):
    """Makes commits durable, as the only writer of a store. Not thread-safe, except :meth:`check`."""

    @property
    def generation(self) -> StoreGeneration:
        """The generation of the store, which the worker state records."""
        ...

    @property
    def needs_compaction(self) -> bool: ...

    def check(self, batch: EncodedBatch) -> None:
        """Raise :class:`InvalidInputError` if the storage cannot contain a text of the batch."""
        ...

    def append(self, batches: Sequence[EncodedBatch]) -> None:
        """Make all batches durable together, or none.

        Raises :class:`StorageError` if they cannot be written; a later call can succeed. Raises
        :class:`ConcurrentWriterError` if another process has written to the store, or is its writer now; this and all
        later calls then write nothing.
        """
        ...

    def start_compaction(self) -> Compaction | None:
        """Start a new generation with all commits until now; None if the storage needs no compaction.

        Raises the errors of :meth:`append`.
        """
        ...

    @property
    def lease(self) -> HeldLease | None:
        """The lease of this engine; None if the storage needs none. Can be read in any thread."""
        ...

    def on_fenced(self, callback: Callable[[ConcurrentWriterError], object]) -> None:
        """Call ``callback`` once, in any thread, if the lease is lost."""
        ...

    def close(self) -> None: ...
