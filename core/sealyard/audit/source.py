"""The interface for reading an audit log, whichever way it is stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from sealyard.audit.checkpoint import parse_note
from sealyard.model.audit import AuditEntry, AuditFilter, Checkpoint
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import AuditVerificationError

MATCH_ALL = AuditFilter()


class StoredLine(FrozenStruct, frozen=True, kw_only=True):
    """An entry as stored, with its location: the name of a file or table, and its number in it."""

    source: str
    number: int
    data: bytes
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.source}, {self.unit} {self.number}"


class AuditSource(ABC):
    """A stored audit log. It can be read while another process writes it, from several threads.

    Checks only that each line is an entry and each checkpoint is well formed, and raises
    :class:`AuditVerificationError` if not; :func:`sealyard.audit.verify.verify_log` checks everything else.
    ``CHECKPOINTS`` and ``PUBLIC_KEY`` name, in messages, where checkpoints and public key are stored.
    """

    CHECKPOINTS: str
    PUBLIC_KEY: str

    @property
    @abstractmethod
    def size(self) -> int:
        """The number of stored entries."""

    @abstractmethod
    def last_note(self) -> str | None:
        """Return the newest checkpoint as a signed note, or ``None`` if there is none.

        Users can store the note elsewhere, and verify the log against it later.
        """

    @abstractmethod
    def notes(self) -> Iterator[str]:
        """Yield the signed notes of all checkpoints, oldest first."""

    @abstractmethod
    def lines(self) -> Iterator[StoredLine]:
        """Yield all entries as stored, oldest first."""

    @abstractmethod
    def find_public_key(self) -> bytes | None:
        """Return the public audit key (PEM), or ``None`` if it is missing."""

    @abstractmethod
    def entries(
        self,
        filters: AuditFilter = MATCH_ALL,
        *,
        newest_first: bool = True,
        after_seq: int | None = None,
        limit: int = 100,
    ) -> list[AuditEntry]:
        """Return one page: at most ``limit`` entries that match ``filters``, in the requested order.

        The page starts after the entry ``after_seq``; to get the next page, pass the ``seq`` of the last entry. Without
        filters, only the entries of the page are read. With filters that few entries match, much of the log may be
        read, so do not call this method on the event loop.
        """

    @abstractmethod
    def all_entries(self, filters: AuditFilter = MATCH_ALL) -> Iterator[AuditEntry]:
        """Yield every entry that matches ``filters``, oldest first."""

    @abstractmethod
    def close(self) -> None: ...

    def last_checkpoint(self) -> Checkpoint | None:
        note = self.last_note()
        return None if note is None else parse_note(note)[0]

    def read_public_key(self) -> bytes:
        """Return the public audit key (PEM). Raises :class:`AuditVerificationError` if it is missing."""
        public_key = self.find_public_key()
        if public_key is None:
            raise AuditVerificationError(
                f"{self.PUBLIC_KEY} is missing from the audit log: its checkpoints cannot be verified.",
                "Restore it from a backup.",
            )
        return public_key

    def require_checkpoints(self) -> None:
        """Raise :class:`AuditVerificationError` if the log has entries or an audit key, but no checkpoint.

        The first checkpoint of a log is older than its key and its first entry.
        """
        is_in_use = self.find_public_key() is not None or self.size > 0
        if is_in_use and self.last_note() is None:
            raise AuditVerificationError(
                f"The checkpoints of the audit log were removed: {self.CHECKPOINTS} is missing or empty.",
                "Restore the whole workspace from a backup.",
            )

    @property
    def checkpointed_size(self) -> int:
        """The number of entries that the newest checkpoint covers."""
        checkpoint = self.last_checkpoint()
        return 0 if checkpoint is None else checkpoint.size

    @property
    def uncheckpointed_count(self) -> int:
        """The number of entries that no checkpoint covers yet."""
        return self.size - self.checkpointed_size
