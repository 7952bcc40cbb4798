"""Tests of notifications by e-mail, with a real SMTP server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sealyard.model.notifications import MailSecurity, MailServer, NotificationTarget
from sealyard.server.notifications.sender import UNENCRYPTED_MAIL_ERROR
from tests.support.engine_harness import OWNER, EngineHarness
from tests.support.mail_server import PASSWORD, USER, Mailbox, run_mail_server
from tests.support.notification_harness import (
    EMAIL,
    add_target,
    current_target,
    run_sender,
    set_settings,
)
from tests.support.webhook_harness import webhook_workspace

pytestmark = pytest.mark.anyio


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[EngineHarness]:
    async with webhook_workspace(tmp_path / "workspace") as harness:
        yield harness


async def use_mail_server(
    harness: EngineHarness, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> None:
    """Set the mail server of the workspace, whose certificate is trusted."""
    monkeypatch.setenv("SSL_CERT_FILE", mailbox.certificate)
    password = changes.pop("password", None)
    mail_server = MailServer(**{"host": "127.0.0.1", "port": mailbox.port, "sender": "seal@example.org", **changes})
    await set_settings(harness, mail_server=mail_server, password=password)


async def send_test(harness: EngineHarness, target: NotificationTarget) -> str:
    """Send a test message and return its error."""
    test = await harness.execute(OWNER, harness.engine.notifications.start_test(OWNER, target.id))
    return (await harness.engine.notifications.wait_for_test(test)).error


async def test_request_is_announced_by_email(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = await add_target(harness, OWNER)
    async with run_mail_server(tmp_path) as mailbox:
        await use_mail_server(harness, mailbox, monkeypatch)
        async with run_sender(harness):
            task = await harness.package()
            await harness.advance_clock(seconds=30)
            await harness.wait_until(lambda: mailbox.emails)
            await harness.wait_until(lambda: current_target(harness, target).delivered_count == 1)
            await harness.wait_until_durable()
    (email,) = mailbox.emails
    assert (mailbox.recipients, mailbox.encrypted) == ([EMAIL], [True])
    assert email["Subject"] == "Sealyard: A package for gateway waits for your approval"
    assert email["From"] == "seal@example.org"
    assert email["Auto-Submitted"] == "auto-generated"
    assert task.id in email.get_content()
    assert current_target(harness, target).pending_count == 0


async def test_log_in_with_tls(harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = await add_target(harness, OWNER)
    async with run_mail_server(tmp_path, tls=True, auth=True) as mailbox:
        await use_mail_server(
            harness, mailbox, monkeypatch, security=MailSecurity.TLS, user_name=USER, password=PASSWORD
        )
        async with run_sender(harness):
            assert await send_test(harness, target) == ""
    assert mailbox.logins == [(USER, PASSWORD)]
    assert mailbox.emails[0]["Subject"] == "Sealyard: Test message"


async def test_wrong_password_is_reported_without_it(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = await add_target(harness, OWNER)
    async with run_mail_server(tmp_path, auth=True) as mailbox:
        await use_mail_server(harness, mailbox, monkeypatch, user_name=USER, password="wrong")
        async with run_sender(harness):
            error = await send_test(harness, target)
    assert error.startswith("The mail server refused the log-in: 535")
    assert "wrong" not in error
    assert mailbox.emails == []


async def test_missing_starttls_sends_nothing(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = await add_target(harness, OWNER)
    async with run_mail_server(tmp_path, starttls=False) as mailbox:
        await use_mail_server(harness, mailbox, monkeypatch, user_name=USER, password=PASSWORD)
        async with run_sender(harness):
            assert "STARTTLS" in await send_test(harness, target)
    assert (mailbox.logins, mailbox.emails) == ([], [])


async def test_untrusted_certificate_sends_nothing(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = await add_target(harness, OWNER)
    (tmp_path / "other").mkdir()
    async with run_mail_server(tmp_path) as mailbox, run_mail_server(tmp_path / "other") as other_mailbox:
        await use_mail_server(harness, mailbox, monkeypatch)
        monkeypatch.setenv("SSL_CERT_FILE", other_mailbox.certificate)
        async with run_sender(harness):
            assert "certificate of the mail server is not trusted" in await send_test(harness, target)
    assert mailbox.emails == []


async def test_unencrypted_mail_needs_the_setting(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = await add_target(harness, OWNER)
    async with run_mail_server(tmp_path, starttls=False) as mailbox:
        await use_mail_server(harness, mailbox, monkeypatch, security=MailSecurity.NONE)
        async with run_sender(harness, allow_private=False):
            assert await send_test(harness, target) == UNENCRYPTED_MAIL_ERROR
        await harness.advance_clock(seconds=60)
        async with run_sender(harness):
            assert await send_test(harness, target) == ""
    assert mailbox.encrypted == [False]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_private_mail_server_is_refused(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    target = await add_target(harness, OWNER)
    async with run_mail_server(tmp_path) as mailbox:
        await use_mail_server(harness, mailbox, monkeypatch, host=host)
        async with run_sender(harness, allow_private=False):
            assert (await send_test(harness, target)).startswith("Address not allowed")
    assert mailbox.emails == []


async def test_refused_recipient_becomes_failed_notification(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = await add_target(harness, OWNER)
    async with run_mail_server(tmp_path) as mailbox:
        await use_mail_server(harness, mailbox, monkeypatch)
        mailbox.refusal = "550 No such user"
        async with run_sender(harness):
            await harness.package()
            await harness.advance_clock(seconds=30)
            for attempts in (1, 2):
                await harness.wait_until(partial(has_attempts, harness, target, attempts))
                await harness.advance_clock(hours=1)
            await harness.wait_until(lambda: current_target(harness, target).dead_letters)
            await harness.wait_until_durable()
    (failed,) = harness.engine.notifications.failed(OWNER, target.id)
    assert failed.error == "The mail server refused the recipient: 550 No such user"
    assert failed.attempts == 3


async def test_message_is_sent_after_restart(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = await add_target(harness, OWNER)
    async with run_mail_server(tmp_path) as mailbox:
        await use_mail_server(harness, mailbox, monkeypatch)
        await harness.package()
        await harness.reopen()
        await harness.advance_clock(seconds=30)
        async with run_sender(harness):
            await harness.wait_until(lambda: current_target(harness, target).delivered_count == 1)
            await harness.wait_until_durable()
        await harness.reopen()
        async with run_sender(harness):
            await harness.wait_until_durable()
    assert len(mailbox.emails) == 1


async def test_repeated_message_keeps_its_id(
    harness: EngineHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash between the delivery and its record, the receiver recognizes the duplicate."""
    await add_target(harness, OWNER)
    async with run_mail_server(tmp_path) as mailbox:
        await use_mail_server(harness, mailbox, monkeypatch)
        await harness.package()
        await harness.advance_clock(seconds=30)
        crash_copy = await harness.copy_as_if_killed()
        for each in (harness, crash_copy):
            await each.open()
            async with run_sender(each):
                await each.wait_until(partial(is_delivered, each))
                await each.wait_until_durable()
        await crash_copy.close()
    first, second = mailbox.emails
    assert first["Message-ID"] == second["Message-ID"]


async def test_missing_mail_server_is_reported(harness: EngineHarness) -> None:
    target = await add_target(harness, OWNER)
    async with run_sender(harness):
        assert await send_test(harness, target) == "No mail server is set."


def has_attempts(harness: EngineHarness, target: NotificationTarget, count: int) -> bool:
    return [each.attempts for each in harness.engine.notifications.outbox.pending(target.id)] == [count]


def is_delivered(harness: EngineHarness) -> bool:
    return all(each.delivered_count for each in harness.engine.notifications.list_targets(OWNER))
