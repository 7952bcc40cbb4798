"""Where webhooks are told: only at addresses that are allowed, and at the very ones that were checked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from sealyard.client.http.pinned import PinnedResponse, post_pinned
from sealyard.model.errors import ServerUnreachableError
from sealyard.model.webhooks import WebhookEvent
from sealyard.server.webhooks.retry_policy import FEW_TRIES
from tests.support.engine_harness import ADMIN, EngineHarness
from tests.support.webhook_harness import (
    add_webhook,
    get_webhook,
    next_try,
    run_sender,
    wait_for_attempts,
    webhook_workspace,
)
from tests.support.webhook_receiver import Receiver

pytestmark = pytest.mark.anyio

WAITING = WebhookEvent.TASK_WAITING
PUBLIC = "93.184.215.14"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[EngineHarness]:
    async with webhook_workspace(tmp_path / "workspace") as house:
        yield house


class Wire:
    """In the place of the network: notes where one would connect, and lets nobody through."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def __call__(self, url: str, address: str, headers: Mapping[str, str], body: bytes) -> PinnedResponse:
        self.addresses.append(address)
        raise ServerUnreachableError("Cannot reach the server (there is no network here).")


class Rebinding:
    """A resolver whose answer is another each time, as whoever owns the name likes it."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]"])
async def test_nothing_is_sent_to_this_machine_unless_it_is_allowed(house: EngineHarness, host: str) -> None:
    async with Receiver().listen() as receiver:
        hook = await add_webhook(house, receiver.url(host), WAITING)
        async with run_sender(house, allow_private=False, allow_http=True):
            await house.package()
            for tried in range(1, FEW_TRIES):
                await next_try(house, hook, tried)
            await house.wait_until(lambda: get_webhook(house, hook).dead_letters == 1)
        assert receiver.received == []
        (letter,) = house.engine.webhooks.dead_letters(ADMIN, hook.webhook.id)
        assert "loopback" in letter.error


async def test_plain_http_is_not_spoken_unless_it_is_allowed(house: EngineHarness) -> None:
    wire, names = Wire(), Rebinding()
    hook = await add_webhook(house, "http://hooks.example.org/", WAITING)
    async with run_sender(house, wire, resolve=names, allow_private=False):
        await house.package()
        await wait_for_attempts(house, hook, 1)
    assert "https" in get_webhook(house, hook).last_error
    assert (wire.addresses, names.asked) == ([], 0)


async def test_a_name_with_a_public_and_an_inner_address_is_not_told(house: EngineHarness) -> None:
    wire, names = Wire(), Rebinding([PUBLIC, "10.0.0.1"])
    hook = await add_webhook(house, "https://hooks.example.org/", WAITING)
    async with run_sender(house, wire, resolve=names, allow_private=False):
        await house.package()
        await wait_for_attempts(house, hook, 1)
    assert wire.addresses == []
    assert "internal" in get_webhook(house, hook).last_error


async def test_a_name_is_asked_for_once_and_the_address_that_was_checked_is_the_one_that_is_used(
    house: EngineHarness,
) -> None:
    wire, names = Wire(), Rebinding([PUBLIC], ["127.0.0.1"], ["127.0.0.1"])
    hook = await add_webhook(house, "https://rebind.example.org/", WAITING)
    async with run_sender(house, wire, resolve=names, allow_private=False):
        await house.package()
        await wait_for_attempts(house, hook, 1)
        assert (wire.addresses, names.asked) == ([PUBLIC], 1)
        await next_try(house, hook, 1)
        await wait_for_attempts(house, hook, 2)
    assert (wire.addresses, names.asked) == ([PUBLIC], 2)


async def test_another_address_of_the_name_is_tried_next(house: EngineHarness) -> None:
    both = [PUBLIC, "1.1.1.1"]
    wire, names = Wire(), Rebinding(both, both, both)
    hook = await add_webhook(house, "https://hooks.example.org/", WAITING)
    async with run_sender(house, wire, resolve=names, allow_private=False):
        await house.package()
        await next_try(house, hook, 1)
        await next_try(house, hook, 2)
        await wait_for_attempts(house, hook, 3)
    assert wire.addresses == [*both, PUBLIC]


async def test_the_receiver_sees_its_own_name_though_it_is_reached_by_address(house: EngineHarness) -> None:
    async with Receiver().listen() as receiver:
        names = Rebinding(["127.0.0.1"])
        await add_webhook(house, receiver.url("nowhere.invalid"), WAITING)
        async with run_sender(house, post_pinned, resolve=names):
            await house.package()
            await house.wait_until(lambda: receiver.received)
        assert receiver.received[0].headers["host"] == f"nowhere.invalid:{receiver.port}"
