"""Tests of the verification of orders: only new ones that the engine has signed for this workspace are accepted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.crypto.sealing import COMMAND_INFO, seal
from sealyard.crypto.signed_messages import MessageLabel
from sealyard.keys.derived_keys import derive_zone_keys
from sealyard.model.errors import ConflictError, IntegrityError
from sealyard.model.key_commands import AuditPublicKey, ExportKey
from sealyard.model.signed_message import SignedMessage
from sealyard.model.worker_messages import (
    BuildSecretRecorded,
    Job,
    KeyRequest,
    KeyResponse,
    OrderRefused,
    RunJob,
    SigningPermitted,
    StopJob,
    ToWorker,
)
from sealyard.model.zone_messages import SealedCommand
from sealyard.worker.orders import OrderVerifier, create_refusal
from sealyard.worker.sealed_commands import open_command, seal_response
from tests.support.worker_harness import WorkerWorkspace
from tests.support.zone_engine import ZoneEngine

ZONE_KEYS = derive_zone_keys(b"m" * 32)
PERMIT = SigningPermitted(task_id="t1", fencing_token=3, sha256="ab" * 32)
RECORDED = BuildSecretRecorded(task_id="t1", fencing_token=3)
EXPORT = ExportKey(uri="local:content", version=1)


@pytest.fixture
def engine() -> ZoneEngine:
    engine = ZoneEngine()
    engine.zone_keys = ZONE_KEYS.public
    return engine


@pytest.fixture
def verifier(engine: ZoneEngine) -> OrderVerifier:
    return OrderVerifier(engine.order_key, "w1")


@pytest.fixture
def job(workspace: WorkerWorkspace) -> Job:
    return workspace.signing(b"message")


def with_token(job: Job, fencing_token: int) -> RunJob:
    return RunJob(job=msgspec.structs.replace(job, task=msgspec.structs.replace(job.task, fencing_token=fencing_token)))


def test_signed_orders_are_accepted(engine: ZoneEngine, verifier: OrderVerifier, job: Job) -> None:
    for order in (RunJob(job=job), RECORDED, PERMIT, engine.seal(EXPORT)):
        assert verifier.verify(engine.sign(order)) == order


@pytest.mark.parametrize("message", [PERMIT, RECORDED], ids=lambda message: type(message).__name__)
def test_order_of_other_engine_is_refused(verifier: OrderVerifier, message: Any) -> None:
    with pytest.raises(IntegrityError, match="no valid signature"):
        verifier.verify(ZoneEngine(seed=b"x" * 32).sign(message))


@pytest.mark.parametrize("label", [MessageLabel.INSTRUCTION, MessageLabel.REPORT])
def test_other_kind_of_message_is_refused(engine: ZoneEngine, verifier: OrderVerifier, label: MessageLabel) -> None:
    with pytest.raises(IntegrityError, match="no valid signature"):
        verifier.verify(engine.sign(PERMIT, label=label))


def test_order_for_other_workspace_is_refused(engine: ZoneEngine, verifier: OrderVerifier) -> None:
    with pytest.raises(IntegrityError, match="another workspace"):
        verifier.verify(engine.sign(PERMIT, workspace="w2"))


def test_unreadable_order_is_refused(engine: ZoneEngine, verifier: OrderVerifier) -> None:
    with pytest.raises(IntegrityError, match="cannot be read"):
        verifier.verify(engine.sign(StopJob(task_id="t1")))


@given(position=st.integers(0, 10_000), bit=st.integers(0, 7), part=st.sampled_from(["body", "signature"]))
def test_changed_byte_is_refused(position: int, bit: int, part: str) -> None:
    engine = ZoneEngine()
    signed = engine.sign(PERMIT)
    content = bytearray(getattr(signed, part))
    content[position % len(content)] ^= 1 << bit
    with pytest.raises(IntegrityError):
        OrderVerifier(engine.order_key, "w1").verify(msgspec.structs.replace(signed, **{part: bytes(content)}))


@given(st.binary(max_size=200), st.binary(max_size=80))
def test_random_message_is_refused(body: bytes, signature: bytes) -> None:
    with pytest.raises(IntegrityError):
        OrderVerifier(ZoneEngine().order_key, "w1").verify(SignedMessage(body=body, signature=signature))


def test_repeated_job_is_refused(engine: ZoneEngine, verifier: OrderVerifier, job: Job) -> None:
    signed = engine.sign(with_token(job, 3))
    verifier.verify(signed)
    with pytest.raises(ConflictError, match="outdated"):
        verifier.verify(signed)


def test_lower_fencing_token_is_refused(engine: ZoneEngine, verifier: OrderVerifier, job: Job) -> None:
    verifier.verify(engine.sign(with_token(job, 3)))
    answers = (
        SigningPermitted(task_id=job.task.id, fencing_token=2, sha256="ab" * 32),
        BuildSecretRecorded(task_id=job.task.id, fencing_token=2),
    )
    for outdated in (with_token(job, 2), *answers):
        with pytest.raises(ConflictError, match="outdated"):
            verifier.verify(engine.sign(outdated))
    verifier.verify(engine.sign(with_token(job, 4)))


def test_expired_command_is_refused(engine: ZoneEngine, verifier: OrderVerifier) -> None:
    with pytest.raises(ConflictError, match="valid until"):
        verifier.verify(engine.sign(engine.seal(EXPORT, seconds=-1)))


def test_repeated_command_is_refused(engine: ZoneEngine, verifier: OrderVerifier) -> None:
    signed = engine.sign(engine.seal(EXPORT))
    verifier.verify(signed)
    with pytest.raises(ConflictError, match="executed before"):
        verifier.verify(signed)
    verifier.verify(engine.sign(engine.seal(EXPORT)))


def test_expired_commands_are_forgotten(engine: ZoneEngine) -> None:
    now = datetime.now(UTC)
    times = [now, now + timedelta(hours=1)]
    verifier = OrderVerifier(engine.order_key, "w1", lambda: times.pop(0))
    verifier.verify(engine.sign(engine.seal(EXPORT)))
    verifier.verify(engine.sign(engine.seal(EXPORT, seconds=7200)))
    assert len(verifier._executed_commands) == 1


def test_refusal_names_job_or_command(engine: ZoneEngine, job: Job) -> None:
    error = ConflictError("Refused.").to_info()
    sealed = engine.seal(EXPORT)
    task_id = job.task.id
    cases: dict[ToWorker, OrderRefused] = {
        engine.sign(RunJob(job=job)): OrderRefused(task_id=task_id, fencing_token=1, is_running=True, error=error),
        engine.sign(PERMIT): OrderRefused(task_id="t1", fencing_token=3, error=error),
        engine.sign(sealed): OrderRefused(request_id=sealed.request_id, error=error),
        SignedMessage(body=b"no order", signature=b""): OrderRefused(error=error),
        KeyRequest(request_id=7, command=AuditPublicKey()): OrderRefused(request_id=7, error=error),
    }
    for message, refusal in cases.items():
        assert create_refusal(message, error, {task_id: 1, "t1": 2}) == refusal


def test_sealed_command_round_trips(engine: ZoneEngine) -> None:
    content = open_command(ZONE_KEYS.sealing_key, engine.seal(EXPORT))
    assert content.command == EXPORT
    response = KeyResponse(request_id=content.request_id, secret=b"a secret")
    sealed = seal_response(content.reply_key, response)
    assert engine.open_response(sealed) == response
    assert b"a secret" not in sealed.ciphertext


def test_command_for_other_zone_is_refused(engine: ZoneEngine) -> None:
    other_zone = derive_zone_keys(b"n" * 32).public
    with pytest.raises(IntegrityError):
        open_command(ZONE_KEYS.sealing_key, engine.seal(EXPORT, sealing_key=other_zone.sealing_key))


def test_command_with_other_number_is_refused(engine: ZoneEngine) -> None:
    with pytest.raises(IntegrityError, match="cannot be read"):
        open_command(ZONE_KEYS.sealing_key, msgspec.structs.replace(engine.seal(EXPORT), request_id=99))


def test_unreadable_command_is_refused() -> None:
    ciphertext = seal(ZONE_KEYS.public.sealing_key, b"no command", COMMAND_INFO)
    command = SealedCommand(request_id=1, ciphertext=ciphertext, not_after=datetime.now(UTC))
    with pytest.raises(IntegrityError, match="cannot be read"):
        open_command(ZONE_KEYS.sealing_key, command)
