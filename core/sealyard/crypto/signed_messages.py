"""Ed25519 signatures of messages that pass through a bus database, with a label for each kind of message."""

from __future__ import annotations

from enum import Enum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sealyard.model.errors import IntegrityError
from sealyard.model.zone_messages import SignedMessage


class MessageLabel(Enum):
    """Separates the kinds of messages: a signature of one kind is not valid for another."""

    INSTRUCTION = b"sealyard zone instruction 1\x00"
    ORDER = b"sealyard zone order 1\x00"
    REPORT = b"sealyard zone report 1\x00"


def sign_message(key: bytes, label: MessageLabel, body: bytes) -> SignedMessage:
    """Sign a message. ``key``: raw Ed25519 private key (RFC 8032) of 32 bytes."""
    signature = Ed25519PrivateKey.from_private_bytes(key).sign(label.value + body)
    return SignedMessage(body=body, signature=signature)


def derive_public_key(key: bytes) -> bytes:
    """Return the raw public key that verifies what :func:`sign_message` signs with ``key``."""
    return Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw()


def verify_message(public_key: bytes, label: MessageLabel, message: SignedMessage) -> bytes:
    """Return the body of the message. Raises :class:`IntegrityError` if the key did not sign it with this label."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(message.signature, label.value + message.body)
    except (InvalidSignature, ValueError):
        raise IntegrityError(
            "A message in the bus database has no valid signature, and was ignored.",
            "Check which programs can write to the bus database, and that server and crypto host are enrolled.",
        ) from None
    return message.body
