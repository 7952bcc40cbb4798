"""Test `sealyard notification`."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from sealyard.cli.context import SENDING_NOTE
from sealyard.client.engine_handle import EngineHandle
from tests.support.cli_runner import PASSPHRASE, CliWorkspace, run_engine
from tests.support.key_holders import unlock
from tests.support.mail_server import Mailbox, run_mail_server

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"


def test_target_is_added_listed_and_removed(workspace: CliWorkspace) -> None:
    target = workspace.value("owner", "notification", "add", "owner@example.org", "--event", "waiting")
    assert (target["kind"], target["address"], target["events"]) == ("email", "owner@example.org", ["waiting"])
    (listed,) = workspace.value("owner", "notification", "list")
    assert (listed["id"], listed["pendingCount"], listed["deadLetters"]) == (target["id"], 0, 0)
    assert workspace.value("developer", "notification", "list") == []
    result = workspace.run("owner", "notification", "list")
    assert "owner@example.org" in result.out
    assert SENDING_NOTE in result.err
    assert workspace.value("owner", "notification", "remove", target["id"]) == {"removed": target["id"]}
    assert workspace.value("owner", "notification", "list") == []


def test_channel_address_is_read_from_standard_input_and_not_shown(
    workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{SLACK}\n"))
    result = workspace.run("admin", "notification", "add", "-", "--device", "gateway")
    assert result.code == 0
    shown = workspace.run("admin", "notification", "list")
    assert "Slack" in shown.out
    assert "team" in shown.out
    assert "TIiajkdnlazkcOXrIdevi7FQ" not in result.out + result.err + shown.out + shown.err


def test_settings_are_changed_step_by_step(idle_workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_MAIL_PASSWORD", "the password")
    settings = ("notification", "settings")
    options = ("--mail-host", "mail.example.org", "--mail-from", "seal@example.org", "--mail-user", "seal")
    assert idle_workspace.value("admin", *settings, *options)["mailServer"]["port"] == 587
    changed = idle_workspace.value("admin", *settings, "--escalate-at", "80", "--show-names", "yes")
    assert (changed["escalationPercent"], changed["showNames"]) == (80, True)
    assert changed["mailServer"]["host"] == "mail.example.org"
    output = idle_workspace.run("admin", *settings).out
    assert "mail.example.org:587 (starttls)" in output
    assert "the password" not in output
    assert idle_workspace.value("admin", *settings, "--no-mail")["mailServer"] is None


def test_failed_notification_is_listed_and_retried(workspace: CliWorkspace, firmware: Path) -> None:
    target_id = workspace.value("owner", "notification", "add", "owner@example.org")["id"]
    task = workspace.value("developer", "package", "--device", "gateway", "--firmware", str(firmware))
    assert workspace.value("owner", "notification", "list")[0]["pendingCount"] == 1
    asyncio.run(_give_up(workspace.folder, target_id))
    for arguments in (("failed",), ("failed", target_id)):
        (failed,) = workspace.value("owner", "notification", *arguments)
        assert (failed["event"], failed["taskId"], failed["error"]) == ("waiting", task["id"], "It answered 550.")
    assert "It answered 550." in workspace.run("owner", "notification", "failed").out
    assert workspace.run("owner", "notification", "retry", failed["id"]).code == 0
    assert workspace.value("owner", "notification", "failed") == []


def test_request_says_once_that_notifications_wait(workspace: CliWorkspace, firmware: Path) -> None:
    request = ("package", "--device", "gateway", "--firmware", firmware)
    assert SENDING_NOTE not in workspace.run("developer", *request).err
    workspace.value("owner", "notification", "add", "owner@example.org")
    result = workspace.run("developer", *request, "--json")
    assert result.err.count(SENDING_NOTE) == 1
    assert workspace.run("developer", "sign", "--device", "gateway", "--file", firmware).err.count(SENDING_NOTE) == 1
    # The note is about the messages of the command itself.
    assert SENDING_NOTE not in workspace.run("developer", "withdraw", result.value["id"]).err


async def _give_up(folder: Path, target_id: str) -> None:
    """Record that the pending notifications of a target could not be delivered."""
    engine = await EngineHandle.open(folder, purpose="test", key_holder=unlock(PASSPHRASE), work=False)
    try:
        outbox = engine.engine.notifications.outbox
        await engine.run(outbox.move_to_dead_letters(outbox.pending(target_id), "It answered 550."))
    finally:
        await engine.close()


def test_test_message_reports_the_error(idle_workspace: CliWorkspace) -> None:
    target_id = idle_workspace.value("owner", "notification", "add", "owner@example.org")["id"]
    result = idle_workspace.run("owner", "notification", "test", target_id)
    assert result.code != 0
    assert "No mail server is set." in result.err


async def test_setting_allows_private_mail_server(
    workspace: CliWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_mail_server(tmp_path) as mailbox:
        monkeypatch.setenv("SSL_CERT_FILE", mailbox.certificate)
        await asyncio.to_thread(_send_to_private_mail_server, workspace, mailbox, monkeypatch)


def _send_to_private_mail_server(workspace: CliWorkspace, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--mail-host", "127.0.0.1", "--mail-port", mailbox.port, "--mail-from", "seal@example.org")
    with run_engine(workspace.folder, work=False):
        workspace.value("admin", "notification", "settings", *options)
        # Test messages to one target are limited, so each message has its own.
        first, second = (
            workspace.value("owner", "notification", "add", address)["id"]
            for address in ("a@example.org", "b@example.org")
        )
    refused = workspace.run("owner", "notification", "test", first)
    assert refused.code != 0
    assert "The setting allow_private_webhooks allows such addresses." in refused.err
    monkeypatch.setenv("SEALYARD_ALLOW_PRIVATE_WEBHOOKS", "true")
    assert workspace.run("owner", "notification", "test", second).code == 0
    assert mailbox.recipients == ["b@example.org"]


def test_invalid_requests_are_rejected(shared_workspace: CliWorkspace) -> None:
    assert shared_workspace.run("owner", "notification", "add", "file:///etc/passwd").code == 2
    assert shared_workspace.run("owner", "notification", "add", "owner@example.org", "--event", "lunch").code == 2
    assert shared_workspace.run("owner", "notification", "add", "owner@example.org", "--user", "USER:admin").code == 3
    assert shared_workspace.run("owner", "notification", "settings", "--escalate-at", "80").code == 3
    assert shared_workspace.run("admin", "notification", "settings", "--escalate-at", "10").code == 2
    assert shared_workspace.run("admin", "notification", "settings", "--mail-host", "mail.example.org").code == 2
    assert shared_workspace.run("owner", "notification", "remove", "nothing").code == 4
    assert shared_workspace.run("owner", "notification", "retry", "nothing").code == 4
