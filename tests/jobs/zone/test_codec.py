"""Messages in the bus database come from programs that are not trusted."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sealyard.jobs.zone.codec import (
    decode_agent_report,
    encode_message,
    open_instruction,
    open_order,
    open_worker_report,
    sign_instruction,
    sign_order,
    sign_worker_report,
)
from sealyard.model.errors import IntegrityError
from sealyard.model.worker_messages import JobStopped, SigningPermitted
from sealyard.model.zone_messages import AbortJob, Instruction, JobClaimed, Order, SignedMessage, WorkerReport

PRIVATE = Ed25519PrivateKey.generate()
KEY, PUBLIC = PRIVATE.private_bytes_raw(), PRIVATE.public_key().public_bytes_raw()
ORDER = Order(workspace="w", message=SigningPermitted(task_id="t", fencing_token=1, sha256="aa"))
INSTRUCTION = Instruction(workspace="w", host="h", message=AbortJob(task_id="t", fencing_token=1))
REPORT = WorkerReport(workspace="w", message=JobStopped(task_id="t", fencing_token=1))


def test_signed_messages_are_opened() -> None:
    assert open_order(PUBLIC, sign_order(KEY, ORDER)) == ORDER
    assert open_instruction(PUBLIC, sign_instruction(KEY, INSTRUCTION)) == INSTRUCTION
    assert open_worker_report(PUBLIC, sign_worker_report(KEY, REPORT)) == REPORT


def test_message_of_another_kind_is_rejected() -> None:
    with pytest.raises(IntegrityError, match="signature"):
        open_order(PUBLIC, sign_instruction(KEY, INSTRUCTION))
    with pytest.raises(IntegrityError, match="signature"):
        open_worker_report(PUBLIC, sign_order(KEY, ORDER))


@given(position=st.integers(0), bit=st.integers(0, 7))
def test_changed_message_is_rejected(position: int, bit: int) -> None:
    signed = sign_order(KEY, ORDER)
    body = bytearray(signed.body)
    body[position % len(body)] ^= 1 << bit
    with pytest.raises(IntegrityError):
        open_order(PUBLIC, SignedMessage(body=bytes(body), signature=signed.signature))


@given(st.binary() | st.sampled_from([b"[" * 10_000, b"null", b'{"type":"JobClaimed"}', b'{"type":"\xff"}']))
def test_invalid_report_raises_integrity_error(body: bytes) -> None:
    with pytest.raises(IntegrityError):
        decode_agent_report(body)


def test_report_of_an_agent_is_decoded() -> None:
    claimed = JobClaimed(task_id="t", number=1)
    assert decode_agent_report(encode_message(claimed)) == claimed
