"""Uploads that clients send to a remote artifact store themselves, with grants for single requests."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from sealyard.concurrency.threads import CheckCancelled
from sealyard.model.base import FrozenStruct
from sealyard.model.grants import Grant


class DirectSlot(FrozenStruct, frozen=True, kw_only=True):
    """The place of one upload in the store. ``object_id`` is random and never used again.

    ``size``: of the file, in bytes. ``part_size``: that of all parts but the last one. ``multipart_id``: empty if the
    file is sent in one part.
    """

    object_id: str
    size: int
    part_size: int
    multipart_id: str = ""

    @property
    def parts(self) -> int:
        return -(-self.size // self.part_size)

    def length_of(self, part: int) -> int:
        """Return the size of a part in bytes. The first part has the number 1."""
        return min(self.part_size, self.size - (part - 1) * self.part_size)


class DirectUploadStore(Protocol):
    """Receives the content of uploads in slots, apart from the inputs. May be used from any thread.

    All methods block, and raise :class:`ArtifactStoreError` if the store cannot be reached or refuses a request.
    """

    def begin(self, size: int) -> DirectSlot:
        """Prepare an upload of so many bytes."""
        ...

    def grant(self, slot: DirectSlot, part: int, sha256: str, seconds: int) -> Grant:
        """Return a grant to store one part. The store accepts only content with this SHA-256 (hex)."""
        ...

    def store_input(self, slot: DirectSlot, sha256: str, check_cancelled: CheckCancelled) -> None:
        """Verify the content of a slot, and store it as an input.

        Raises :class:`ConflictError` if it was not received completely, and :class:`InputMismatchError` if it has
        another SHA-256 or size. ``check_cancelled`` may raise an exception to cancel the call, which can be repeated.
        """
        ...

    def remove(self, slot: DirectSlot) -> None:
        """Remove what was received. It is no error if nothing was."""
        ...

    def remove_orphans(self, kept_ids: Collection[str]) -> None:
        """Remove the content of slots that are not in ``kept_ids`` and older than a day."""
        ...
