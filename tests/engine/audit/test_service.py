"""What a refusal leaves in the log is bounded, however long what was refused is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from sealyard.engine.audit.service import MAX_MESSAGE_LENGTH, MAX_RESOURCE_LENGTH
from sealyard.model.audit import AuditAction
from sealyard.model.errors import InvalidInputError, SealyardError
from tests.support.engine_harness import ADMIN, DEV, EngineHarness

pytestmark = pytest.mark.anyio

MEBIBYTE = 1024 * 1024


class Unread(str):
    """A text that must not be walked to its end."""

    def __iter__(self) -> object:  # type: ignore[override]
        raise AssertionError("the whole text was walked")


async def test_however_long_what_was_refused_is_its_entry_is_short(harness: EngineHarness) -> None:
    error = InvalidInputError("\x1b" * MEBIBYTE)
    await harness.engine.audit.record_refusal(DEV, "DEVICE_CONFIG:" + "\u202e" * MEBIBYTE, error)
    (entry,) = await harness.audit_entries(AuditAction.FAILED)
    assert entry.resource.startswith("DEVICE_CONFIG:\\u202e")
    assert (len(entry.resource), len(entry.message)) == (MAX_RESOURCE_LENGTH, MAX_MESSAGE_LENGTH)


async def test_only_the_beginning_of_what_was_refused_is_read(harness: EngineHarness) -> None:
    error = InvalidInputError(Unread("x" * MEBIBYTE))
    await harness.engine.audit.record_refusal(DEV, Unread("TASK:" + "x" * MEBIBYTE), error)
    assert len(await harness.audit_entries(AuditAction.FAILED)) == 1


ASKED: dict[str, Callable[[EngineHarness, str], Awaitable[object]]] = {
    "rule": lambda harness, odd: harness.engine.access.remove_rule(ADMIN, odd, confirmed=False),
    "token": lambda harness, odd: harness.engine.tokens.revoke(ADMIN, odd),
    "subject": lambda harness, odd: harness.engine.access.add_subject(ADMIN, odd, ""),
    "configuration": lambda harness, odd: harness.package(config=odd),
    "task": lambda harness, odd: harness.engine.delivery.renew(ADMIN, odd),
    "key": lambda harness, odd: harness.engine.devices.rotate_key(ADMIN, odd),
}


@pytest.mark.parametrize("asked", ASKED)
async def test_an_error_repeats_only_the_beginning_of_a_foreign_name(harness: EngineHarness, asked: str) -> None:
    with pytest.raises(SealyardError) as refused:
        await ASKED[asked](harness, "\x1b" * MEBIBYTE)
    assert len(str(refused.value)) < 1000
