"""Probes that test keys by using them on random data. No result leaves the worker."""

from __future__ import annotations

import asyncio
import io
import secrets

from sealyard.audit.checkpoint import verify_signature
from sealyard.crypto.algorithms import BLOCK_LENGTH, CIPHERS, signing_input
from sealyard.crypto.certificates import load_certificate
from sealyard.crypto.pipeline import no_progress
from sealyard.crypto.probe import probe_message
from sealyard.crypto.protocols import ContentCipher
from sealyard.crypto.segments import decrypt_segment, encrypt_segment
from sealyard.crypto.signatures import verify
from sealyard.keys.provider import Signer
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.errors import AuditVerificationError, InvalidKeyError


async def probe_signer(signer: Signer, algorithm: SigningAlgorithm, certificate: str, workspace_id: str) -> None:
    """Sign a probe message and verify the signature with ``certificate``, the recorded certificate (PEM).

    Raises :class:`InvalidKeyError` if the signature is not valid, or the error of the key provider if signing fails.
    """
    message = probe_message(workspace_id)
    signature = await signer.sign(signing_input(algorithm, message))
    public_key = load_certificate(certificate.encode()).public_key
    if not await asyncio.to_thread(verify, public_key, algorithm, message, signature, prehashed=False):
        raise InvalidKeyError(
            "A test signature of the key does not match the recorded certificate.",
            "Check whether the key was replaced, then rotate it.",
        )


async def probe_audit_signer(signer: Signer, public_key: str, workspace_id: str) -> None:
    """Sign a probe message with the audit key and verify it with ``public_key`` (PEM), which is stored with the log.

    No checkpoint begins like a probe message. Raises :class:`InvalidKeyError` if the signature is not valid, or the
    error of the key provider if signing fails.
    """
    message = probe_message(workspace_id)
    signature = await signer.sign(message)
    try:
        verify_signature(message, signature, public_key.encode())
    except AuditVerificationError as error:
        raise InvalidKeyError(
            "A test signature of the audit key does not match the key that is stored with the audit log.",
            "Restore the keys and the audit log from the same backup.",
        ) from error


async def probe_cipher(cipher: ContentCipher) -> None:
    """Encrypt a random block and decrypt it again. Raises :class:`InvalidKeyError` if the result differs."""
    await asyncio.to_thread(_round_trip, cipher)


def _round_trip(cipher: ContentCipher) -> None:
    block = secrets.token_bytes(BLOCK_LENGTH)
    encrypted_file, decrypted_file = io.BytesIO(), io.BytesIO()
    iv = secrets.token_bytes(CIPHERS[cipher.algorithm].iv_length)
    length = encrypt_segment(io.BytesIO(block), len(block), encrypted_file, cipher, iv, no_progress).length
    encrypted_file.seek(0)
    decrypt_segment(encrypted_file, length, cipher, decrypted_file.write, (), no_progress)
    if decrypted_file.getvalue() != block:
        raise InvalidKeyError("Decrypting a test block does not return the original.", "Check the key store.")
