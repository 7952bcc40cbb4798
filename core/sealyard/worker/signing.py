"""Signing tasks: a message or a finished SHA-256 in, a signature out, checked with the certificate on record."""

from __future__ import annotations

import asyncio
import base64

from sealyard.containers.lookalikes import refuse_lookalike
from sealyard.crypto.catalogue import SIGNATURES, SigningInput
from sealyard.crypto.certificates import load_certificate
from sealyard.crypto.signatures import verify
from sealyard.model.algorithms import KeyPurpose
from sealyard.model.errors import KeyRefusedError, WorkerError
from sealyard.model.jobs import Finished
from sealyard.worker.bench import Bench


async def sign(bench: Bench) -> Finished:
    """Makes the signature of a signing task."""
    key = bench.task.signing_key
    certificate = bench.job.certificate
    assert key is not None
    assert certificate is not None
    with bench.open_input(bench.task.inputs[0]) as file:
        data = file.read()
    _refuse_forgery(bench, data, await bench.signing_purpose())
    bench.progress.total = len(data)
    await bench.leave_to_sign(data)
    signer = await bench.signer()
    signature = await signer.sign(data)
    takes_digest = SIGNATURES[key.algorithm].input is SigningInput.SHA256_DIGEST
    public_key = load_certificate(certificate.encode()).public_key
    if not await asyncio.to_thread(verify, public_key, key.algorithm, data, signature, prehashed=takes_digest):
        raise WorkerError(
            "The signature does not verify with the certificate on record.", "Nothing was released; check the key."
        )
    bench.progress(len(data))
    return Finished(task_id=bench.task.id, fence=bench.task.fence, signature=base64.b64encode(signature).decode())


def _refuse_forgery(bench: Bench, data: bytes, purpose: KeyPurpose | None) -> None:
    """A signing task must not make what would pass as the signature of a container, or as a probe's."""
    key = bench.task.signing_key
    assert key is not None
    if SIGNATURES[key.algorithm].input is SigningInput.SHA256_DIGEST:
        if purpose is not KeyPurpose.DATA:
            raise KeyRefusedError(
                "A bare digest is signed with a key for data only: nobody can see what stands behind it.",
                "Use a configuration whose signing key has the purpose 'data'.",
            )
        return
    refuse_lookalike(data)
