"""Signing tasks: sign a message or a SHA-256 digest, and verify the signature with the recorded certificate."""

from __future__ import annotations

import base64

from sealyard.containers.registry import reject_container_start
from sealyard.crypto.algorithms import SIGNATURES, SigningInput
from sealyard.model.algorithms import KeyPurpose
from sealyard.model.errors import InvalidKeyError
from sealyard.model.worker_messages import JobFinished
from sealyard.worker.job_context import JobContext


async def sign(context: JobContext) -> JobFinished:
    """Sign the input of a signing task, and return a report that contains the signature."""
    (file,) = context.task.inputs
    data = context.read_input(file)
    _reject_container_start(context, data, await context.signing_key_purpose())
    context.progress.total = len(data)
    signature = await context.sign(data, data)
    context.progress(len(data))
    return JobFinished(
        task_id=context.task.id,
        fencing_token=context.task.fencing_token,
        signature=base64.b64encode(signature).decode(),
    )


def _reject_container_start(context: JobContext, data: bytes, purpose: KeyPurpose | None) -> None:
    """Reject input whose signature would also be valid for a container or for the test message of a key check.

    Raises :class:`InvalidKeyError` if the input starts like one of the two, or is a digest and the key is not for data.
    """
    key = context.task.signing_key
    assert key is not None
    if SIGNATURES[key.algorithm].input is SigningInput.SHA256_DIGEST:
        if purpose is not KeyPurpose.DATA:
            raise InvalidKeyError(
                "A digest can only be signed with a key for data, because approvers cannot see what it stands for.",
                "Use a configuration whose signing key has the purpose 'data'.",
            )
        return
    reject_container_start(data)
