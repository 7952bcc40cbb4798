"""What every command needs: who asks, of which workspace, and a client that is closed at the end."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.cli.output import Output
from sealyard.client.log import log_to_file
from sealyard.client.profiles import Profile, resolve
from sealyard.client.workspaces import passphrase_for
from sealyard.model.events import TaskProgress
from sealyard.model.workspace import Places

if TYPE_CHECKING:
    from sealyard.client.embedded import EmbeddedClient


class Context:
    """One command under way. Nothing is looked up before it is asked for."""

    def __init__(self, args: argparse.Namespace, out: Output) -> None:
        self.args = args
        self.out = out

    @cached_property
    def profile(self) -> Profile:
        """Raises :class:`NotFoundError` where nothing says which workspace or who one is."""
        return resolve(getattr(self.args, "workspace", None), getattr(self.args, "profile", None), os.environ)

    @property
    def folder(self) -> Path:
        return Path(self.profile.workspace)

    @property
    def downloads(self) -> Path:
        """Where results go when no --out says otherwise."""
        if self.profile.downloads:
            return Path(self.profile.downloads)
        from platformdirs import user_downloads_path

        return user_downloads_path()

    @contextlib.asynccontextmanager
    async def reader(self) -> AsyncIterator[EmbeddedClient]:
        """Looks, beside whoever holds the workspace."""
        from sealyard.client.embedded import EmbeddedClient

        async with contextlib.AsyncExitStack() as stack:
            client = await EmbeddedClient.open_reader(self.folder, self.profile.identity)
            stack.push_async_callback(client.close)
            yield client

    @contextlib.asynccontextmanager
    async def writer(self, purpose: str, *, work: bool = True, finish: bool = True) -> AsyncIterator[EmbeddedClient]:
        """Holds the workspace. With ``work`` it picks up what is unfinished, with ``finish`` it sees that through."""
        from sealyard.client.embedded import EmbeddedClient

        passphrase = passphrase_for(self.folder, os.environ, ask_passphrase if at_terminal() else None)
        log_to_file(Places(self.folder).engine_log)
        async with contextlib.AsyncExitStack() as stack:
            client = await EmbeddedClient.open(
                self.folder, self.profile.identity, purpose=purpose, passphrase=passphrase, work=work
            )
            stack.push_async_callback(client.close)
            yield client
            if work and finish:
                await self.settle(client)

    async def settle(self, client: EmbeddedClient) -> None:
        """Waits until no task is queued or running, and shows how it goes."""
        import asyncio

        if not self.out.progress.live:
            await client.idle()
            return
        watching = asyncio.create_task(self._show_progress(client))
        try:
            await client.idle()
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            self.out.progress.clear()

    async def _show_progress(self, client: EmbeddedClient) -> None:
        import asyncio

        last: dict[str, int] = {}
        loop = asyncio.get_running_loop()
        started = loop.time()
        async for event in client.events():
            if isinstance(event, TaskProgress):
                last[event.task_id] = event.bytes_done
                rate = sum(last.values()) / max(loop.time() - started, 1e-3)
                self.out.progress.show(event.task_id, event.bytes_done, event.bytes_total, rate, event.seconds_left)


def at_terminal() -> bool:
    """Whether a person can be asked: never through a pipe."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_passphrase(question: str = "Passphrase of the key store: ") -> str:
    import getpass

    try:
        return getpass.getpass(question)
    except EOFError:
        return ""
