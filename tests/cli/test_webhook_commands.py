"""Webhooks by the command line."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sealyard.client.engine_handle import EngineHandle
from tests.support.cli_runner import PASSPHRASE, CliWorkspace

URL = "https://hooks.example.org/sealyard"


def test_a_webhook_is_added_listed_and_removed_and_its_secret_shown_once(house: CliWorkspace) -> None:
    made = house.value("admin", "webhook", "add", URL, "--event", "task.done", "--event", "task.failed")
    assert made["secret"].startswith("whsec_")
    assert made["webhook"]["events"] == ["task.done", "task.failed"]
    (listed,) = house.value("admin", "webhook", "list")
    assert (listed["id"], listed["url"], listed["pendingCount"], listed["deadLetters"]) == (
        made["webhook"]["id"],
        URL,
        0,
        0,
    )
    shown = house.run("admin", "webhook", "list")
    assert URL in shown.out
    assert made["secret"] not in shown.out
    assert house.value("admin", "webhook", "remove", listed["id"]) == {"removed": listed["id"]}
    assert house.value("admin", "webhook", "list") == []


def test_for_people_the_secret_stands_on_a_line_of_its_own(house: CliWorkspace) -> None:
    ran = house.run("admin", "webhook", "add", URL)
    assert ran.code == 0
    (secret,) = [line for line in ran.out.splitlines() if line.startswith("whsec_")]
    assert len(secret) == len("whsec_") + 44


def test_what_was_given_up_is_listed_and_taken_up_again(house: CliWorkspace, firmware: Path) -> None:
    hook = house.value("admin", "webhook", "add", URL)["webhook"]["id"]
    task = house.package(firmware)
    (waiting,) = house.value("admin", "webhook", "list")
    assert waiting["pendingCount"] == 1
    asyncio.run(_give_up(house.folder, hook))
    for arguments in (("dead-letters",), ("dead-letters", hook)):
        (letter,) = house.value("admin", "webhook", *arguments)
        assert (letter["taskId"], letter["event"], letter["error"]) == (task["id"], "task.waiting", "It answered 410.")
    shown = house.run("admin", "webhook", "dead-letters").out
    assert letter["id"] in shown
    assert "410" in shown
    assert house.run("admin", "webhook", "redeliver", letter["id"]).code == 0
    assert house.value("admin", "webhook", "dead-letters") == []
    assert house.value("admin", "webhook", "list")[0]["pendingCount"] == 1


async def _give_up(folder: Path, webhook_id: str) -> None:
    engine = await EngineHandle.open(folder, purpose="test", passphrase=PASSPHRASE, work=False)
    try:
        outbox = engine.engine.webhook_outbox
        due = await engine.run(outbox.next_delivery(webhook_id))
        assert due is not None
        await engine.run(outbox.move_to_dead_letters(due.message, "It answered 410."))
    finally:
        await engine.close()


def test_refusals_have_their_exit_codes(house: CliWorkspace) -> None:
    assert house.run("developer", "webhook", "add", URL).code == 3
    assert house.run("developer", "webhook", "list").code == 3
    assert house.run("admin", "webhook", "add", "file:///etc/passwd").code == 2
    assert house.run("admin", "webhook", "add", URL, "--event", "task.lost").code == 2
    assert house.run("admin", "webhook", "remove", "nothing").code == 4
    assert house.run("admin", "webhook", "redeliver", "nothing").code == 4
