"""Tests of the length limits of audit entries and error messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from sealyard.engine.audit.service import MAX_MESSAGE_LENGTH, MAX_RESOURCE_LENGTH
from sealyard.model.audit import AuditAction
from sealyard.model.errors import IntegrityError, NotFoundError, SealyardError
from sealyard.model.tasks import Verdict
from tests.support.engine_harness import ADMIN, DEV, OWNER, EngineHarness

pytestmark = pytest.mark.anyio

LONG = 256 * 1024


class UniterableStr(str):
    """A string that fails the test when it is iterated."""

    def __iter__(self) -> object:  # type: ignore[override]
        raise AssertionError("the whole text was iterated")


async def test_long_message_and_resource_are_truncated(harness: EngineHarness) -> None:
    error = IntegrityError("\x1b" * LONG)
    await harness.engine.audit.record_refusal(DEV, "DEVICE_CONFIG:" + "\u202e" * LONG, error)
    (entry,) = await harness.audit_entries(AuditAction.FAILED)
    assert entry.resource.startswith("DEVICE_CONFIG:\\u202e")
    assert (len(entry.resource), len(entry.message)) == (MAX_RESOURCE_LENGTH, MAX_MESSAGE_LENGTH)


async def test_long_text_is_not_read_completely(harness: EngineHarness) -> None:
    error = IntegrityError(UniterableStr("x" * LONG))
    await harness.engine.audit.record_refusal(DEV, UniterableStr("TASK:" + "x" * LONG), error)
    assert len(await harness.audit_entries(AuditAction.FAILED)) == 1


async def test_unknown_id_is_no_audit_entry(harness: EngineHarness) -> None:
    with pytest.raises(NotFoundError):
        await harness.execute(OWNER, harness.engine.decisions.decide(OWNER, "nope", Verdict.APPROVED, "", None))
    assert await harness.audit_entries(AuditAction.FAILED) == []


CALLS: dict[str, Callable[[EngineHarness, str], Awaitable[object]]] = {
    "rule": lambda harness, name: harness.engine.access.remove_rule(ADMIN, name, confirmed=False),
    "token": lambda harness, name: harness.engine.tokens.revoke(ADMIN, name),
    "subject": lambda harness, name: harness.engine.access.add_subject(ADMIN, name, ""),
    "configuration": lambda harness, name: harness.package(config=name),
    "task": lambda harness, name: harness.engine.delivery.renew(ADMIN, name),
    "key": lambda harness, name: harness.engine.devices.rotate_key(ADMIN, name),
}


@pytest.mark.parametrize("call", CALLS)
async def test_error_message_truncates_long_name(harness: EngineHarness, call: str) -> None:
    with pytest.raises(SealyardError) as exc_info:
        await CALLS[call](harness, "\x1b" * LONG)
    assert len(str(exc_info.value)) < 1000
