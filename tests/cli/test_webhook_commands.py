"""Test `sealyard webhook`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sealyard.client.engine_handle import EngineHandle
from tests.support.cli_runner import PASSPHRASE, CliWorkspace
from tests.support.key_holders import unlock

URL = "https://hooks.example.org/sealyard"


def test_webhook_is_added_listed_and_removed(idle_workspace: CliWorkspace) -> None:
    created = idle_workspace.value("admin", "webhook", "add", URL, "--event", "task.done", "--event", "task.failed")
    assert created["secret"].startswith("whsec_")
    assert created["webhook"]["events"] == ["task.done", "task.failed"]
    (listed,) = idle_workspace.value("admin", "webhook", "list")
    assert (listed["id"], listed["url"], listed["pendingCount"], listed["deadLetters"]) == (
        created["webhook"]["id"],
        URL,
        0,
        0,
    )
    result = idle_workspace.run("admin", "webhook", "list")
    assert URL in result.out
    assert created["secret"] not in result.out
    assert idle_workspace.value("admin", "webhook", "remove", listed["id"]) == {"removed": listed["id"]}
    assert idle_workspace.value("admin", "webhook", "list") == []


def test_secret_is_printed_on_own_line(workspace: CliWorkspace) -> None:
    result = workspace.run("admin", "webhook", "add", URL)
    assert result.code == 0
    (secret,) = [line for line in result.out.splitlines() if line.startswith("whsec_")]
    assert len(secret) == len("whsec_") + 44


def test_dead_letter_is_listed_and_redelivered(workspace: CliWorkspace, firmware: Path) -> None:
    webhook_id = workspace.value("admin", "webhook", "add", URL)["webhook"]["id"]
    task = workspace.package(firmware)
    (waiting,) = workspace.value("admin", "webhook", "list")
    assert waiting["pendingCount"] == 1
    asyncio.run(_create_dead_letter(workspace.folder, webhook_id))
    for arguments in (("dead-letters",), ("dead-letters", webhook_id)):
        (letter,) = workspace.value("admin", "webhook", *arguments)
        assert (letter["taskId"], letter["event"], letter["error"]) == (task["id"], "task.waiting", "It answered 410.")
    output = workspace.run("admin", "webhook", "dead-letters").out
    assert letter["id"] in output
    assert "410" in output
    assert workspace.run("admin", "webhook", "redeliver", letter["id"]).code == 0
    assert workspace.value("admin", "webhook", "dead-letters") == []
    assert workspace.value("admin", "webhook", "list")[0]["pendingCount"] == 1


async def _create_dead_letter(folder: Path, webhook_id: str) -> None:
    engine = await EngineHandle.open(folder, purpose="test", key_holder=unlock(PASSPHRASE), work=False)
    try:
        outbox = engine.engine.webhook_outbox
        due = await engine.run(outbox.next_delivery(webhook_id))
        assert due is not None
        await engine.run(outbox.move_to_dead_letters(due.messages, "It answered 410."))
    finally:
        await engine.close()


def test_errors_have_exit_codes(shared_workspace: CliWorkspace) -> None:
    assert shared_workspace.run("developer", "webhook", "add", URL).code == 3
    assert shared_workspace.run("developer", "webhook", "list").code == 3
    assert shared_workspace.run("admin", "webhook", "add", "file:///etc/passwd").code == 2
    assert shared_workspace.run("admin", "webhook", "add", URL, "--event", "task.lost").code == 2
    assert shared_workspace.run("admin", "webhook", "remove", "nothing").code == 4
    assert shared_workspace.run("admin", "webhook", "redeliver", "nothing").code == 4
