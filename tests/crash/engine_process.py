"""An engine in a process of its own, to be killed: commands on standard input, what happens on standard output.

One JSON value a line. The first line in says where the workspace is; then come commands. Each line out is an
answer (it names its command's ``number``) or an event, and carries the process ids of the workers that live.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.errors import ConflictError, SealyardError
from sealyard.model.events import TaskChanged
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest, TaskFilter
from sealyard.model.tasks import Task, TaskStatus, Verdict

REQUESTER = "USER:developer"
APPROVER = "USER:owner"
REVIEWER = "USER:reviewer"
"""May approve too, and rejects what the approver may be approving at the same time."""

CONFIG = "gateway"

Command = dict[str, Any]


class EngineProcess:
    def __init__(self, engine: EngineHandle) -> None:
        self._engine = engine
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
            "unended": self._unended,
            "close": self._close,
        }

    async def run(self, commands: asyncio.Queue[Command]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tell())
            while True:
                group.create_task(self._do(await commands.get()))

    def say(self, value: dict[str, Any]) -> None:
        line = json.dumps(value | {"workers": self._engine.worker_pids}) + "\n"
        os.write(1, line.encode())

    async def _tell(self) -> None:
        async for event in self._client.events():
            if isinstance(event, TaskChanged):
                self.say({"task": event.task_id, "status": event.status})

    async def _do(self, command: Command) -> None:
        try:
            answer = await self._commands[command["do"]](command)
        except SealyardError as error:
            answer = {"error": str(error)}
        self.say(answer | {"number": command["number"]})

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
        """Withdraw, reject or cancel a task; ``stopped`` says whether that was done."""
        try:
            task = await stop(command["task"])
        except ConflictError:
            task = await self._client.task(command["task"])
            return {"task": task.id, "status": task.status, "stopped": False}
        return {"task": task.id, "status": task.status, "stopped": True}

    async def _unended(self, command: Command) -> dict[str, Any]:
        statuses = [each for each in TaskStatus if not each.is_final]
        pages = [await self._client.tasks(TaskFilter(status=each), limit=1000) for each in statuses]
        return {"unended": {each.id: _seen(each) for page in pages for each in page.tasks}}

    async def _close(self, command: Command) -> dict[str, Any]:
        await self._engine.close()
        os._exit(0)


def _seen(task: Task) -> dict[str, Any]:
    return {"status": task.status, "losses": task.lease_losses, "worker": task.worker}


def _read(commands: asyncio.Queue[Command], loop: asyncio.AbstractEventLoop) -> None:
    for line in sys.stdin:
        loop.call_soon_threadsafe(commands.put_nowait, json.loads(line))
    os._exit(0)


async def main() -> None:
    place = json.loads(sys.stdin.readline())
    engine = await EngineHandle.open(Path(place["workspace"]), purpose="crash test", passphrase=place["passphrase"])
    process = EngineProcess(engine)
    process.say({"ready": True})
    commands: asyncio.Queue[Command] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    threading.Thread(target=_read, args=(commands, loop), daemon=True).start()
    await process.run(commands)


if __name__ == "__main__":
    asyncio.run(main())
