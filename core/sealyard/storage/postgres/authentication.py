"""The MACs of rows and of the whole store.

Each MAC is HMAC-SHA256 over a JSON array that begins with a label, followed by a line feed and the body, if there is
one. The keys are derived from the key of the store, one for each kind of row.

The MAC of a row shows that Sealyard has written it with this id and content, but not that it is the newest version. The
MAC of the head covers a *set hash* of all documents: the sum, modulo 2^256, of an HMAC of each row's MAC under a key of
its own. Neither the addends nor the sum are stored. Finding another set of rows with the same sum, for example with
older ones, therefore requires the key; a database administrator sees only the MAC of the sum.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

import msgspec

from sealyard.storage.frame_chain import StoreCredentials

_MODULUS = 1 << 256


class Head(NamedTuple):
    """The state of a store after a commit.

    ``term`` is that of the engine that committed it. Each take over by an engine begins a generation; its random id
    distinguishes it from others with the same number. The worker state records both. ``position`` is the number of
    commits. ``next_seq`` and ``previous`` are the end of the audit log, ``cursor`` is that of the newest event.
    """

    term: int
    generation: int
    generation_id: str
    previous_generation_id: str
    position: int
    next_seq: int
    previous: str
    cursor: int


class RowAuthenticator:
    """Computes the MACs of the rows of one workspace."""

    def __init__(self, credentials: StoreCredentials) -> None:
        self.workspace_id = credentials.workspace_id
        self._document_key = _derive_key(credentials.key, "document")
        self._set_key = _derive_key(credentials.key, "set")
        self._event_key = _derive_key(credentials.key, "event")
        self._head_key = _derive_key(credentials.key, "head")

    def compute_document_mac(self, kind: str, identity: str, position: int, body: bytes) -> bytes:
        fields = msgspec.json.encode(["document", self.workspace_id, kind, identity, position])
        return hmac.digest(self._document_key, b"%b\n%b" % (fields, body), "sha256")

    def compute_addend(self, document_mac: bytes) -> int:
        """Return what a document adds to the sum of the set hash."""
        return int.from_bytes(hmac.digest(self._set_key, document_mac, "sha256"))

    def compute_event_mac(self, cursor: int, body: bytes) -> bytes:
        fields = msgspec.json.encode(["event", self.workspace_id, cursor])
        return hmac.digest(self._event_key, b"%b\n%b" % (fields, body), "sha256")

    def compute_head_mac(self, head: Head, set_hash: int) -> bytes:
        fields = msgspec.json.encode(["head", self.workspace_id, *head, f"{set_hash:064x}"])
        return hmac.digest(self._head_key, fields, "sha256")


class DocumentSet:
    """The addends of all documents, and their sum."""

    def __init__(self) -> None:
        self.sum = 0
        self._addends: dict[str, dict[str, int]] = {}

    def contains(self, kind: str, identity: str) -> bool:
        return identity in self._addends.get(kind, {})

    def sum_after(self, changes: dict[tuple[str, str], int | None]) -> int:
        """Return the sum after the changes: the new addend of each document, None if it is deleted."""
        difference = sum(
            (addend or 0) - self._addends.get(kind, {}).get(identity, 0) for (kind, identity), addend in changes.items()
        )
        return (self.sum + difference) % _MODULUS

    def apply(self, changes: dict[tuple[str, str], int | None]) -> None:
        self.sum = self.sum_after(changes)
        for (kind, identity), addend in changes.items():
            addends = self._addends.setdefault(kind, {})
            if addend is None:
                addends.pop(identity, None)
            else:
                addends[identity] = addend

    def add(self, kind: str, identity: str, addend: int) -> bool:
        """Add a document that was loaded, and return whether the set did not contain it before."""
        addends = self._addends.setdefault(kind, {})
        if identity in addends:
            return False
        addends[identity] = addend
        self.sum = (self.sum + addend) % _MODULUS
        return True


def _derive_key(store_key: bytes, label: str) -> bytes:
    return hmac.digest(store_key, f"postgres {label} 1".encode(), "sha256")
