"""The MACs of the store's frames. Each covers the MAC of the frame before, so that the frames form a chain.

The MAC of a frame is HMAC-SHA256 over the MAC of the frame before (64 hex digits) and the JSON of the frame. The chain
of a generation begins with the HMAC-SHA256 over a JSON array: the text ``sealyard store``, the id of the workspace, the
number of the generation, and the MAC of the generation before, which is empty if there is none. From there it runs
through the snapshot and continues in the journal. The MAC of the first frame of the journal identifies the generation.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

import msgspec

MAC_LENGTH = 64
_LABEL = b"sealyard store"


class StoreCredentials(NamedTuple):
    """The key that authenticates the store of a workspace, and the id of the workspace."""

    key: bytes
    workspace_id: str

    def __repr__(self) -> str:
        return f"StoreCredentials(workspace_id={self.workspace_id!r})"


class FrameChain:
    """The end of a chain: the MAC (64 hex digits) of its last frame."""

    def __init__(self, key: bytes, mac: bytes) -> None:
        self.mac = mac
        self._key = key

    @classmethod
    def begin(cls, credentials: StoreCredentials, generation: int, previous_mac: str) -> FrameChain:
        """Begin the chain of a generation. ``previous_mac``: identifies the generation before."""
        text = msgspec.json.encode([_LABEL.decode(), credentials.workspace_id, generation, previous_mac])
        return cls(credentials.key, _compute_mac(credentials.key, text))

    def copy(self) -> FrameChain:
        return FrameChain(self._key, self.mac)

    def append(self, encoded_json: bytes) -> bytes:
        """Return the MAC of the next frame, and advance the chain."""
        self.mac = _compute_mac(self._key, self.mac + encoded_json)
        return self.mac

    def verify(self, mac: bytes, encoded_json: bytes) -> bool:
        """Return whether the next frame has this MAC, and advance the chain if so."""
        expected_mac = _compute_mac(self._key, self.mac + encoded_json)
        if not hmac.compare_digest(mac, expected_mac):
            return False
        self.mac = expected_mac
        return True


def _compute_mac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256").hex().encode()
