"""Signing tasks: a message or a finished SHA-256 in, a signature out, checked with the certificate on record."""

from __future__ import annotations

import base64

from sealyard.containers.lookalikes import refuse_lookalike
from sealyard.crypto.catalogue import SIGNATURES, SigningInput
from sealyard.model.algorithms import KeyPurpose
from sealyard.model.errors import KeyRefusedError
from sealyard.model.jobs import Finished
from sealyard.worker.bench import Bench


async def sign(bench: Bench) -> Finished:
    """Makes the signature of a signing task."""
    (file,) = bench.task.inputs
    data = bench.read_input(file)
    _refuse_forgery(bench, data, await bench.signing_purpose())
    bench.progress.total = len(data)
    signature = await bench.sign(data, data)
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
