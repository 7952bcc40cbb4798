"""Tests of notifications to chat services, with Apprise and a real HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sealyard.model.notifications import NotificationTarget, TargetKind
from sealyard.server.notifications.chat import remove_secrets
from sealyard.server.notifications.messages import SendRequest
from sealyard.server.notifications.sender import PLAIN_HTTP_ERROR, send_in_process
from tests.support.engine_harness import ADMIN, GATEWAY, EngineHarness
from tests.support.notification_harness import add_target, current_target, run_sender
from tests.support.webhook_harness import webhook_workspace
from tests.support.webhook_receiver import Receiver, Reply

pytestmark = pytest.mark.anyio


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[EngineHarness]:
    async with webhook_workspace(tmp_path / "workspace") as harness:
        yield harness


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listen() as receiver:
        yield receiver


async def add_channel(harness: EngineHarness, address: str) -> NotificationTarget:
    return await add_target(harness, "", address=address, device_config=GATEWAY)


async def send_test(harness: EngineHarness, target: NotificationTarget) -> str:
    test = await harness.execute(ADMIN, harness.engine.notifications.start_test(ADMIN, target.id))
    return (await harness.engine.notifications.wait_for_test(test)).error


async def test_request_is_announced_in_channel(harness: EngineHarness, receiver: Receiver) -> None:
    receiver.replies.append(Reply(status=200))
    target = await add_channel(harness, f"mmost://127.0.0.1:{receiver.port}/0123456789abcdef")
    async with run_sender(harness):
        task = await harness.package(name="secret-project")
        await harness.advance_clock(seconds=30)
        await harness.wait_until(lambda: current_target(harness, target).delivered_count == 1)
        await harness.wait_until_durable()
    (received,) = receiver.received
    assert received.path == "/hooks/0123456789abcdef"
    assert "A package for gateway waits for your approval" in str(received.value)
    assert task.id in str(received.value)
    assert "secret-project" not in str(received.value)


async def test_failure_is_reported_without_secrets(harness: EngineHarness, receiver: Receiver) -> None:
    receiver.replies.append(Reply(status=404))
    target = await add_channel(harness, f"json://user:s3cr3tpassword@127.0.0.1:{receiver.port}/token-abcdef")
    async with run_sender(harness):
        error = await send_test(harness, target)
    assert "error=404" in error
    assert "s3cr3tpassword" not in error
    assert "token-abcdef" not in error


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_private_address_is_refused(receiver: Receiver, host: str) -> None:
    outcome = await send_in_process(
        SendRequest(
            message_id="1",
            kind=TargetKind.CHAT,
            address=f"jsons://{host}:{receiver.port}/x",
            title="title",
            body="body",
        )
    )
    assert outcome.error.startswith("Address not allowed")
    assert not outcome.is_transient
    assert receiver.received == []


async def test_plain_http_needs_the_setting(harness: EngineHarness, receiver: Receiver) -> None:
    target = await add_channel(harness, f"json://127.0.0.1:{receiver.port}/x")
    async with run_sender(harness, allow_private=False):
        assert await send_test(harness, target) == PLAIN_HTTP_ERROR
    assert receiver.received == []


async def test_redirects_are_not_followed(harness: EngineHarness, receiver: Receiver) -> None:
    receiver.replies.append(Reply(status=307, headers={"location": f"http://127.0.0.1:{receiver.port}/elsewhere"}))
    target = await add_channel(harness, f"json://127.0.0.1:{receiver.port}/x")
    async with run_sender(harness):
        assert await send_test(harness, target) != ""
    assert [each.path for each in receiver.received] == ["/x"]


async def test_unreachable_service_is_transient(harness: EngineHarness) -> None:
    outcome = await send_in_process(
        SendRequest(
            message_id="1",
            kind=TargetKind.CHAT,
            address="json://127.0.0.1:9/x",
            title="title",
            body="body",
            allow_private=True,
        )
    )
    assert outcome.error
    assert outcome.is_transient


async def test_invalid_address_is_reported(harness: EngineHarness) -> None:
    target = await add_channel(harness, "slack://too-short")
    async with run_sender(harness):
        assert await send_test(harness, target) == "The address is not valid for Slack."


async def test_missing_apprise_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apprise.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    request = SendRequest(message_id="1", kind=TargetKind.CHAT, address="slack://a/b/c", title="title", body="body")
    assert "Install sealyard[notifications]" in (await send_in_process(request)).error


async def test_slow_service_is_stopped(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard.server.notifications.sender.SEND_SECONDS", 1.0)
    receiver.replies.append(Reply(gate=asyncio.Event()))
    request = SendRequest(
        message_id="1",
        kind=TargetKind.CHAT,
        address=f"json://127.0.0.1:{receiver.port}/x",
        title="title",
        body="body",
        allow_private=True,
    )
    outcome = await send_in_process(request)
    assert (outcome.error, outcome.is_transient) == ("The receiver's server did not answer in time.", True)


def test_parts_of_the_address_are_removed() -> None:
    address = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdn%20lazk/#approvals"
    text = remove_secrets("Failed at T1JJ3T3L2 TIiajkdn lazk TIiajkdn%20lazk.", address)
    assert text == "Failed at … … …."
