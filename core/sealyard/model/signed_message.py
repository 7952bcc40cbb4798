"""A signed message: how the messages of a crypto zone pass through programs that cannot change or forge them."""

from __future__ import annotations

from sealyard.model.base import FrozenStruct


class SignedMessage(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """An encoded message (JSON) and its Ed25519 signature; see :mod:`sealyard.crypto.signed_messages`."""

    body: bytes
    signature: bytes
