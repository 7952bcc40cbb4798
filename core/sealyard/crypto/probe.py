"""Probe messages: a key signs one to prove that it works.

A probe message starts with :data:`PREFIX` (domain separation), so that its signature is valid for nothing else: no
container starts with this prefix, and signing tasks reject messages that do.
"""

from __future__ import annotations

import secrets

PREFIX = b"sealyard readiness probe v1\n"

NONCE_LENGTH = 32
"""Length in bytes of the random nonce in a probe message."""


def probe_message(workspace_id: str) -> bytes:
    """Return a new probe message for the workspace. It contains a random nonce, so that it cannot be predicted."""
    return PREFIX + workspace_id.encode() + b"\n" + secrets.token_bytes(NONCE_LENGTH)


def is_probe(message: bytes) -> bool:
    return message.startswith(PREFIX)
