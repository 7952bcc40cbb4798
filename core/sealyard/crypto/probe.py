"""The message whose signature proves that a key can sign, and can stand for nothing else.

It begins with words of its own (domain separation): no container begins so, and no signing task takes what does.
"""

from __future__ import annotations

import secrets

PREFIX = b"sealyard readiness probe v1\n"

NONCE_LENGTH = 32
"""Bytes."""


def probe_message(workspace_id: str) -> bytes:
    """A new one each time: whoever sees one cannot foretell the next."""
    return PREFIX + workspace_id.encode() + b"\n" + secrets.token_bytes(NONCE_LENGTH)


def is_probe(message: bytes) -> bool:
    return message.startswith(PREFIX)
