"""Signing tasks: sign a message or a SHA-256 digest, and verify the signature with the recorded certificate."""

from __future__ import annotations

import base64

from sealyard.containers.registry import reject_container_start
from sealyard.crypto.algorithms import SIGNATURES, SigningInput
from sealyard.model.worker_messages import JobFinished
from sealyard.worker.job_context import JobContext


async def sign(context: JobContext) -> JobFinished:
    """Sign the input of a signing task, and return a report that contains the signature."""
    (file,) = context.task.inputs
    data = context.read_input(file)
    _reject_container_start(context, data)
    signature = await context.sign(data, data)
    context.progress(len(data))
    return JobFinished(
        task_id=context.task.id,
        fencing_token=context.task.fencing_token,
        signature=base64.b64encode(signature).decode(),
    )


def _reject_container_start(context: JobContext, data: bytes) -> None:
    """Raise :class:`InvalidKeyError` if the signature would also be valid for a container, or for a key check.

    A digest cannot be checked. The purpose of the key, which was checked before, ensures that it signs no containers.
    """
    key = context.task.signing_key
    assert key is not None
    if SIGNATURES[key.algorithm].input is not SigningInput.SHA256_DIGEST:
        reject_container_start(data)
