"""Probes that test keys by using them on worthless data; no result leaves the worker."""

from __future__ import annotations

import asyncio
import io
import secrets

from sealyard.crypto.algorithms import BLOCK_LENGTH, signing_input
from sealyard.crypto.certificates import load_certificate
from sealyard.crypto.pipeline import no_progress
from sealyard.crypto.probe import probe_message
from sealyard.crypto.protocols import ContentCipher
from sealyard.crypto.segments import decrypt_segment, encrypt_segment
from sealyard.crypto.signatures import verify
from sealyard.keys.provider import Signer
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.errors import InvalidKeyError


async def probe_signer(signer: Signer, algorithm: SigningAlgorithm, certificate: str, workspace_id: str) -> None:
    """Sign a probe message and check the signature with the certificate (PEM) on record.

    Raises :class:`InvalidKeyError` if the signature does not verify, and what the provider of the key raises.
    """
    message = probe_message(workspace_id)
    signature = await signer.sign(signing_input(algorithm, message))
    public_key = load_certificate(certificate.encode()).public_key
    if not await asyncio.to_thread(verify, public_key, algorithm, message, signature, prehashed=False):
        raise InvalidKeyError(
            "A test signature of the key does not match the recorded certificate.",
            "Check whether the key was replaced, then rotate it.",
        )


async def probe_cipher(cipher: ContentCipher) -> None:
    """Encrypt a random block and decrypt it again. Raises :class:`InvalidKeyError` if the result differs."""
    await asyncio.to_thread(_round_trip, cipher)


def _round_trip(cipher: ContentCipher) -> None:
    block = secrets.token_bytes(BLOCK_LENGTH)
    encrypted, decrypted = io.BytesIO(), io.BytesIO()
    length = encrypt_segment(io.BytesIO(block), len(block), encrypted, cipher, no_progress).length
    encrypted.seek(0)
    decrypt_segment(encrypted, length, cipher, decrypted.write, (), no_progress)
    if decrypted.getvalue() != block:
        raise InvalidKeyError("Decrypting a test block does not return the original.", "Check the key store.")
