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


async def test_however_long_what_was_refused_is_its_entry_is_short(house: EngineHarness) -> None:
    error = InvalidInputError("\x1b" * MEBIBYTE)
    await house.engine.audit.record_refusal(DEV, "DEVICE_CONFIG:" + "\u202e" * MEBIBYTE, error)
    (entry,) = await house.audit_entries(AuditAction.FAILED)
    assert entry.resource.startswith("DEVICE_CONFIG:\\u202e")
    assert (len(entry.resource), len(entry.message)) == (MAX_RESOURCE_LENGTH, MAX_MESSAGE_LENGTH)


async def test_only_the_beginning_of_what_was_refused_is_read(house: EngineHarness) -> None:
    error = InvalidInputError(Unread("x" * MEBIBYTE))
    await house.engine.audit.record_refusal(DEV, Unread("TASK:" + "x" * MEBIBYTE), error)
    assert len(await house.audit_entries(AuditAction.FAILED)) == 1


ASKED: dict[str, Callable[[EngineHarness, str], Awaitable[object]]] = {
    "rule": lambda house, odd: house.engine.access.remove_rule(ADMIN, odd, confirmed=False),
    "token": lambda house, odd: house.engine.tokens.revoke(ADMIN, odd),
    "subject": lambda house, odd: house.engine.access.add_subject(ADMIN, odd, ""),
    "configuration": lambda house, odd: house.package(config=odd),
    "task": lambda house, odd: house.engine.delivery.renew(ADMIN, odd),
    "key": lambda house, odd: house.engine.devices.rotate_key(ADMIN, odd),
}


@pytest.mark.parametrize("asked", ASKED)
async def test_an_error_repeats_only_the_beginning_of_a_foreign_name(house: EngineHarness, asked: str) -> None:
    with pytest.raises(SealyardError) as refused:
        await ASKED[asked](house, "\x1b" * MEBIBYTE)
    assert len(str(refused.value)) < 1000
