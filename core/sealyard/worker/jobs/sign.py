"""Signing tasks: a message or a finished SHA-256 in, a signature out, checked with the certificate on record."""

from __future__ import annotations

import base64

from sealyard.containers.registry import reject_lookalike
from sealyard.crypto.algorithms import SIGNATURES, SigningInput
from sealyard.model.algorithms import KeyPurpose
from sealyard.model.errors import InvalidKeyError
from sealyard.model.worker_messages import JobFinished
from sealyard.worker.job_context import JobContext


async def sign(bench: JobContext) -> JobFinished:
    """Makes the signature of a signing task."""
    (file,) = bench.task.inputs
    data = bench.read_input(file)
    _reject_lookalike(bench, data, await bench.signing_key_purpose())
    bench.progress.total = len(data)
    signature = await bench.sign(data, data)
    bench.progress(len(data))
    return JobFinished(
        task_id=bench.task.id, fencing_token=bench.task.fencing_token, signature=base64.b64encode(signature).decode()
    )


def _reject_lookalike(bench: JobContext, data: bytes, purpose: KeyPurpose | None) -> None:
    """A signing task must not make what would pass as the signature of a container, or as a probe's."""
    key = bench.task.signing_key
    assert key is not None
    if SIGNATURES[key.algorithm].input is SigningInput.SHA256_DIGEST:
        if purpose is not KeyPurpose.DATA:
            raise InvalidKeyError(
                "A bare digest is signed with a key for data only: nobody can see what stands behind it.",
                "Use a configuration whose signing key has the purpose 'data'.",
            )
        return
    reject_lookalike(data)
