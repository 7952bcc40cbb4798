"""An engine in its own process, to be killed: reads commands from standard input, writes responses and events.

Each line is one JSON value. The first input line holds the workspace; commands follow. Each output line is a response,
with the ``number`` of its command, or an event, and lists the process IDs of the running workers. The key holder finds
the passphrase in a credential, so that it can be restarted. Small journals are compacted.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sealyard.client.config.key_holder import start_key_holder
from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import ConflictError, ResultExpiredError, SealyardError
from sealyard.model.events import TaskChanged
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest, TaskFilter
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.storage import journal
from tests.support.client_kinds import OffsetClock

REQUESTER = "USER:developer"
APPROVER = "USER:owner"
REVIEWER = "USER:reviewer"
"""A second approver, who rejects tasks while the other may be approving them."""

CONFIG = "gateway"
COMPACTION_SIZE = 64 << 10
"""Bytes of a journal that is compacted, so that kills interrupt compactions."""

Command = dict[str, Any]


class EngineProcess:
    def __init__(self, engine: EngineHandle, clock: OffsetClock) -> None:
        self._engine = engine
        self._clock = clock
        self._client = engine.client("USER:administrator")
        self._requester = engine.client(REQUESTER)
        self._approver = engine.client(APPROVER)
        self._reviewer = engine.client(REVIEWER)
        self._commands: dict[str, Callable[[Command], Awaitable[dict[str, Any]]]] = {
            "create": self._create,
            "approve": self._approve,
            "withdraw": partial(self._stop, lambda task: self._requester.withdraw(task, "wrong file")),
            "reject": partial(self._stop, lambda task: self._reviewer.decide(task, Verdict.REJECTED, "wrong file")),
            "cancel": partial(self._stop, self._requester.cancel),
            "download": self._download,
            "clock": self._set_clock,
            "unfinished": self._list_unfinished,
            "close": self._close,
        }

    async def run(self, commands: asyncio.Queue[Command]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish_events())
            while True:
                group.create_task(self._run_command(await commands.get()))

    def write_line(self, value: dict[str, Any]) -> None:
        line = json.dumps(value | {"workers": self._engine.worker_pids}) + "\n"
        os.write(1, line.encode())

    async def _publish_events(self) -> None:
        async for event in self._client.events():
            if isinstance(event, TaskChanged):
                self.write_line({"task": event.task_id, "status": event.status})

    async def _run_command(self, command: Command) -> None:
        try:
            response = await self._commands[command["command"]](command)
        except SealyardError as error:
            response = {"error": str(error), "code": error.code}
        self.write_line(response | {"number": command["number"]})

    async def _create(self, command: Command) -> dict[str, Any]:
        token = command["token"]
        files = tuple([await self._requester.upload(Path(each)) for each in command["files"]])
        match command["kind"]:
            case "packaging":
                packaging = PackageRequest(config=CONFIG, firmware=files, client_token=token)
                task = await self._requester.create_package(packaging)
            case "encryption":
                encryption = EncryptionRequest(config=CONFIG, file=files[0], client_token=token)
                task = await self._requester.create_encryption(encryption)
            case _:
                message = base64.b64decode(command["message"])
                signing = SigningRequest(config=CONFIG, message=message, client_token=token)
                task = await self._requester.create_signing(signing)
        return {"token": token, "task": task.id, "status": task.status}

    async def _approve(self, command: Command) -> dict[str, Any]:
        try:
            task = await self._approver.decide(command["task"], Verdict.APPROVED)
        except ConflictError:
            task = await self._approver.task(command["task"])
        return {"task": task.id, "status": task.status}

    async def _stop(self, stop: Callable[[str], Awaitable[Task]], command: Command) -> dict[str, Any]:
        """Withdraw, reject or cancel a task; ``stopped`` reports whether the command succeeded."""
        try:
            task = await stop(command["task"])
        except ConflictError:
            task = await self._client.task(command["task"])
            return {"task": task.id, "status": task.status, "stopped": False}
        return {"task": task.id, "status": task.status, "stopped": True}

    async def _download(self, command: Command) -> dict[str, Any]:
        task_id = command["task"]
        try:
            digest = await self._compute_digest(task_id)
        except ResultExpiredError:
            # The clock is ahead, or was ahead when an earlier engine expired the link.
            await self._requester.renew(task_id)
            digest = await self._compute_digest(task_id)
        await self._requester.report_downloaded(task_id)
        return {"downloaded": task_id, "sha256": digest}

    async def _compute_digest(self, task_id: str) -> str:
        digest = hashlib.sha256()
        async for chunk in self._requester.download(task_id):
            digest.update(chunk)
        return digest.hexdigest()

    async def _set_clock(self, command: Command) -> dict[str, Any]:
        self._clock.ahead = timedelta(seconds=command["ahead"])
        return {"ahead": command["ahead"]}

    async def _list_unfinished(self, command: Command) -> dict[str, Any]:
        statuses = [each for each in TaskStatus if not each.is_final]
        pages = [await self._client.tasks(TaskFilter(status=each), limit=1000) for each in statuses]
        return {"unfinished": {each.id: _task_state(each) for page in pages for each in page.tasks}}

    async def _close(self, command: Command) -> dict[str, Any]:
        await self._engine.close()
        os._exit(0)


def _task_state(task: Task) -> dict[str, Any]:
    return {"status": task.status, "losses": task.lease_losses, "worker": task.worker}


def _read_commands(commands: asyncio.Queue[Command], loop: asyncio.AbstractEventLoop) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(commands.put_nowait, json.loads(line))
    os._exit(0)


async def main() -> None:
    options = json.loads(sys.stdin.readline())
    folder = Path(options["workspace"])
    journal.MIN_COMPACTION_SIZE = COMPACTION_SIZE
    clock = OffsetClock()
    key_holder = start_key_holder(folder, may_prompt=False)
    engine = await EngineHandle.open(folder, purpose="crash test", key_holder=key_holder, clock=clock)
    process = EngineProcess(engine, clock)
    process.write_line({"ready": True})
    commands: asyncio.Queue[Command] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_read_commands, args=(commands, loop), daemon=True).start()
    await process.run(commands)


if __name__ == "__main__":
    asyncio.run(main())
