"""Tests of webhook target addresses: which are allowed, and that only checked ones are used."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from sealyard.client.http.pinned import PinnedResponse, post_pinned
from sealyard.model.errors import ServerUnreachableError
from sealyard.model.webhooks import WebhookEvent
from sealyard.server.delivery.retry_policy import FEW_TRIES
from tests.support.engine_harness import ADMIN, EngineHarness
from tests.support.webhook_harness import (
    add_webhook,
    advance_to_retry,
    get_webhook,
    run_sender,
    wait_for_attempts,
    webhook_workspace,
)
from tests.support.webhook_receiver import Receiver

pytestmark = pytest.mark.anyio

WAITING = WebhookEvent.TASK_WAITING
PUBLIC = "93.184.215.14"


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[EngineHarness]:
    async with webhook_workspace(tmp_path / "workspace") as harness:
        yield harness


class RecordingPost:
    """Fake network that records the addresses and refuses every connection."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def __call__(self, url: str, address: str, headers: Mapping[str, str], body: bytes) -> PinnedResponse:
        self.addresses.append(address)
        raise ServerUnreachableError("Cannot reach the server (no network).")


class RebindingResolver:
    """A resolver that returns another answer each time, as the owner of a name may do."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.lookups = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.lookups += 1
        return self.answers.pop(0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]"])
async def test_loopback_target_is_rejected_by_default(harness: EngineHarness, host: str) -> None:
    async with Receiver().listen() as receiver:
        issued = await add_webhook(harness, receiver.url(host), WAITING)
        async with run_sender(harness, allow_private=False, allow_http=True):
            await harness.package()
            for attempts in range(1, FEW_TRIES):
                await advance_to_retry(harness, issued, attempts)
            await harness.wait_until(lambda: get_webhook(harness, issued).dead_letters == 1)
        assert receiver.received == []
        (dead_letter,) = harness.engine.webhooks.dead_letters(ADMIN, issued.webhook.id)
        assert "loopback" in dead_letter.error


async def test_plain_http_is_rejected_by_default(harness: EngineHarness) -> None:
    post, resolver = RecordingPost(), RebindingResolver()
    issued = await add_webhook(harness, "http://hooks.example.org/", WAITING)
    async with run_sender(harness, post, resolve=resolver, allow_private=False):
        await harness.package()
        await wait_for_attempts(harness, issued, 1)
    assert "https" in get_webhook(harness, issued).last_error
    assert (post.addresses, resolver.lookups) == ([], 0)


async def test_name_with_internal_address_is_rejected(harness: EngineHarness) -> None:
    post, resolver = RecordingPost(), RebindingResolver([PUBLIC, "10.0.0.1"])
    issued = await add_webhook(harness, "https://hooks.example.org/", WAITING)
    async with run_sender(harness, post, resolve=resolver, allow_private=False):
        await harness.package()
        await wait_for_attempts(harness, issued, 1)
    assert post.addresses == []
    assert "internal" in get_webhook(harness, issued).last_error


async def test_dns_rebinding_uses_checked_address(
    harness: EngineHarness,
) -> None:
    post, resolver = RecordingPost(), RebindingResolver([PUBLIC], ["127.0.0.1"], ["127.0.0.1"])
    issued = await add_webhook(harness, "https://rebind.example.org/", WAITING)
    async with run_sender(harness, post, resolve=resolver, allow_private=False):
        await harness.package()
        await wait_for_attempts(harness, issued, 1)
        assert (post.addresses, resolver.lookups) == ([PUBLIC], 1)
        await advance_to_retry(harness, issued, 1)
        await wait_for_attempts(harness, issued, 2)
    assert (post.addresses, resolver.lookups) == ([PUBLIC], 2)


async def test_retry_uses_next_address(harness: EngineHarness) -> None:
    addresses = [PUBLIC, "1.1.1.1"]
    post, resolver = RecordingPost(), RebindingResolver(addresses, addresses, addresses)
    issued = await add_webhook(harness, "https://hooks.example.org/", WAITING)
    async with run_sender(harness, post, resolve=resolver, allow_private=False):
        await harness.package()
        await advance_to_retry(harness, issued, 1)
        await advance_to_retry(harness, issued, 2)
        await wait_for_attempts(harness, issued, 3)
    assert post.addresses == [*addresses, PUBLIC]


async def test_host_header_keeps_host_name(harness: EngineHarness) -> None:
    async with Receiver().listen() as receiver:
        resolver = RebindingResolver(["127.0.0.1"])
        await add_webhook(harness, receiver.url("nowhere.invalid"), WAITING)
        async with run_sender(harness, post_pinned, resolve=resolver):
            await harness.package()
            await harness.wait_until(lambda: receiver.received)
        assert receiver.received[0].headers["host"] == f"nowhere.invalid:{receiver.port}"
