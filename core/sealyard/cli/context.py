"""The context of a command: its arguments, output, profile and clients."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.cli.hints import format_error
from sealyard.cli.output import Output
from sealyard.client.config.profiles import Profile, resolve, selected_workspace
from sealyard.client.log import log_to_file
from sealyard.model.errors import StorageError, UsageError
from sealyard.model.events import TaskProgressed
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.client.config.deferred_key_holder import DeferredKeyHolder
    from sealyard.client.config.key_holder import KeyHolder
    from sealyard.client.config.settings import Settings
    from sealyard.client.engine_handle import EngineHandle
    from sealyard.client.protocol import Client


LOCK_TIMEOUT = 2.0
"""Seconds to wait for a workspace whose owner does not accept connections.

Such an owner is starting or stopping, or is another short-lived command.
"""

SENDING_NOTE = (
    "Notifications are sent while the application, or `sealyard run`, `watch` or `serve`, has this workspace open; "
    "until then they wait."
)


class Context:
    """The context of one command. It loads the profile on first use and opens clients on request."""

    def __init__(self, args: argparse.Namespace, out: Output) -> None:
        self.args = args
        self.out = out
        self._engine: EngineHandle | None = None
        self._key_holder: DeferredKeyHolder | None = None

    @cached_property
    def profile(self) -> Profile:
        """The selected profile. Raises the errors of :func:`sealyard.client.config.profiles.resolve`."""
        return resolve(getattr(self.args, "workspace", None), getattr(self.args, "profile", None), os.environ)

    @property
    def folder(self) -> Path:
        """The folder of the workspace. Raises :class:`UsageError` if the profile is for a server."""
        if self.profile.server:
            raise UsageError(
                f"Not available on a server: the profile {escape_text(self.profile.name)} is for a server.",
                "Select a workspace on this machine with --workspace or --profile.",
            )
        return Path(self.profile.workspace)

    @property
    def downloads(self) -> Path:
        """The folder for downloaded results, unless ``--out`` is given."""
        if self.profile.downloads:
            return Path(self.profile.downloads)
        from platformdirs import user_downloads_path

        return user_downloads_path()

    @contextlib.asynccontextmanager
    async def open_reader(self) -> AsyncIterator[Client]:
        """Yield a client for reading, which works even if another process owns the workspace."""
        async with contextlib.AsyncExitStack() as stack:
            if self.profile.server:
                client = self._connect_to_server()
                stack.push_async_callback(client.close)
                yield client
            else:
                yield await self._open_local_reader(stack)

    @contextlib.asynccontextmanager
    async def open_writer(
        self, purpose: str, *, run_tasks: bool = True, finish_tasks: bool = True
    ) -> AsyncIterator[Client]:
        """Yield a client for writing. If no other process owns the workspace, this process becomes its owner.

        If another process owns the workspace and accepts connections, the client connects to that process, which then
        also runs the tasks. If the profile is for a server, the client connects to the server.

        ``purpose``: the name of the command, shown to other processes while this process owns the workspace.
        ``run_tasks``: whether pending tasks are run while this process is the owner. ``finish_tasks``: whether to wait
        for these tasks before the client is closed; if False, this process accepts connections from other processes
        instead, with the settings of the user. Raises :class:`WorkspaceLockedError` if the owner does not accept
        connections.
        """
        async with contextlib.AsyncExitStack() as stack:
            if self.profile.server:
                client = self._connect_to_server()
                stack.push_async_callback(client.close)
                yield client
                return
            from sealyard.client.config.settings import Settings
            from sealyard.client.config.state_file import remove_stale_user_files
            from sealyard.client.sharing.workspace import SharedWorkspace

            remove_stale_user_files()
            settings = Settings() if finish_tasks else self._load_settings()
            shared_workspace = SharedWorkspace(
                self.folder,
                lambda: self._start_key_holder(may_prompt=not shared_workspace.is_attached),
                purpose=purpose,
                listen=not finish_tasks,
                work=run_tasks,
                os_group=settings.socket_group,
                allows_private_webhooks=lambda: settings.allow_private_webhooks,
                key_check_interval=settings.key_check_minutes * 60,
                on_take_over=lambda: self.out.warn(
                    "The previous owner of the workspace exited; this process now owns it."
                ),
                on_trouble=lambda error: self.out.warn(f"warning: {format_error(error)}"),
            )
            stack.push_async_callback(shared_workspace.close)
            await shared_workspace.open(within=LOCK_TIMEOUT)
            if shared_workspace.is_attached and not finish_tasks:
                self._report_owner()
            self._engine = engine = shared_workspace.engine
            client = shared_workspace.client(self.profile.identity)
            if engine is None or not (run_tasks and finish_tasks):
                yield client
                return
            waiting_count = await engine.count_waiting_notifications()
            yield client
            await self._await_with_progress(engine.wait_idle(), client)
            if await engine.count_waiting_notifications() > waiting_count:
                self.out.warn(SENDING_NOTE)

    def _load_settings(self) -> Settings:
        """Return the settings of the user or, after a warning, the default settings if they cannot be loaded."""
        from sealyard.client.config.settings_loader import Settings, load_settings, settings_path

        try:
            return load_settings(settings_path())
        except UsageError as error:
            self.out.warn(f"warning: {error} The default settings are used.")
            return Settings()

    def _report_owner(self) -> None:
        from sealyard.fs.workspace_lock import WorkspaceLock, lock_error

        holder = WorkspaceLock.holder(WorkspacePaths(self.folder).lock)
        self.out.warn(f"{lock_error(holder).message} This process takes over when it exits.")

    async def run_to_completion(self, client: Client, task_id: str) -> None:
        """Wait until a task has ended or needs approval, and show its progress.

        If this process owns the workspace, and thus runs the tasks itself, wait for all pending tasks.
        """
        if self._engine is not None:
            await self._await_with_progress(self._engine.wait_idle(), client)
        else:
            await self._await_with_progress(client.wait(task_id, or_waiting=True), client, task_id)

    def _connect_to_server(self) -> Client:
        from sealyard.client.http.connect import connect_to_server
        from sealyard.client.oauth.session import load_token_source

        token = load_token_source(self.profile, os.environ, ask_passphrase if is_interactive() else None)
        return connect_to_server(self.profile, token)

    async def _open_local_reader(self, stack: contextlib.AsyncExitStack) -> Client:
        """Return a client that reads the files or the database of the workspace without verifying them; results say so.

        If the files are not readable, because another user owns the workspace and shares it with a group, the client
        connects to the socket of the workspace instead. The client is closed together with ``stack``.
        """
        if not _is_readable(self.folder):
            from sealyard.client.sharing.workspace import connect_to_holder

            client = connect_to_holder(self.folder, self.profile.identity)
            stack.push_async_callback(client.close)
            return client
        from sealyard.client.engine_handle import EngineHandle

        engine = await EngineHandle.open_read_only(self.folder)
        stack.push_async_callback(engine.close)
        self.out.mark_unverified()
        return engine.client(self.profile.identity)

    def _start_key_holder(self, *, may_prompt: bool) -> KeyHolder:
        """Return the key holder of the workspace, and start writing the engine's log to a file.

        Called before this process becomes the owner of the workspace. ``may_prompt``: whether the key holder may prompt
        the user for the passphrase if it is not in the environment.
        """
        if self._key_holder is None:
            from sealyard.client.config.deferred_key_holder import DeferredKeyHolder

            self._key_holder = DeferredKeyHolder(self.folder)
        key_holder = self._key_holder.get(may_prompt=may_prompt and is_interactive())
        # A command that only reads must also work on a read-only disk, where no log can be written.
        with contextlib.suppress(StorageError):
            log_to_file(WorkspacePaths(self.folder).engine_log)
        return key_holder

    def close(self) -> None:
        """Close the key holder, if the command has started one; a command may open several writers one by one."""
        if self._key_holder is not None:
            self._key_holder.close()

    async def _await_with_progress(
        self, awaitable: Awaitable[object], client: Client, task_id: str | None = None
    ) -> None:
        """Await ``awaitable`` while showing the progress of a task, or of all tasks if ``task_id`` is None."""
        import asyncio

        if not self.out.progress.is_enabled:
            await awaitable
            return
        progress = asyncio.create_task(self._show_progress(client, task_id))
        try:
            await awaitable
        finally:
            progress.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await progress
            self.out.progress.clear()

    async def _show_progress(self, client: Client, task_id: str | None) -> None:
        import asyncio

        bytes_done: dict[str, int] = {}
        loop = asyncio.get_running_loop()
        start_time = loop.time()
        async for event in client.events():
            if isinstance(event, TaskProgressed) and task_id in (None, event.task_id):
                bytes_done[event.task_id] = event.bytes_done
                rate = sum(bytes_done.values()) / max(loop.time() - start_time, 1e-3)
                self.out.progress.show(event.task_id, event.bytes_done, event.bytes_total, rate, event.eta_seconds)


def _is_readable(folder: Path) -> bool:
    """Return whether this process may read the workspace: its metadata and, unless it has a database, its store."""
    paths = WorkspacePaths(folder)
    if not os.access(paths.file, os.R_OK):
        return False
    from sealyard.client.config.workspaces import has_database

    return has_database(folder) or os.access(paths.store, os.R_OK)


def select_folder(ctx: Context) -> Path:
    """Return the folder of the workspace that is selected directly or by a profile.

    Unlike :attr:`Context.folder`, this does not require an identity, for commands that act as no subject.
    """
    workspace = selected_workspace(getattr(ctx.args, "workspace", None), os.environ)
    return workspace if workspace is not None and not getattr(ctx.args, "profile", None) else ctx.folder


def is_interactive() -> bool:
    """Return whether the user can be prompted, that is, whether standard input and standard error are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def ask_passphrase(question: str = "Passphrase of the key store: ") -> str:
    """Prompt for a secret without echo, and return it, or an empty string at the end of the input."""
    import getpass

    from sealyard.cli.signals import end_prompt_on_signal

    try:
        with end_prompt_on_signal():
            return getpass.getpass(question)
    except EOFError:
        return ""
