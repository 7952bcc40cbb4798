"""Where the `sealyard` command finds the application: what must be known before it takes the terminal, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import getpass
import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.client.config.profiles import (
    Profile,
    has_selection,
    profiles_of,
    read_profiles,
    resolve,
    user_profiles_path,
    workspace_profiles,
)
from sealyard.client.config.settings_loader import Settings, load_settings, settings_path
from sealyard.client.config.workspaces import create_workspace, new_passphrase, passphrase_for
from sealyard.client.log import log_to_file
from sealyard.model.errors import KeyStoreLockedError, SealyardError, UsageError
from sealyard.model.workspace import KeyStore, WorkspacePaths

if TYPE_CHECKING:
    from sealyard_tui.screens.welcome.choices import CreateWorkspaceChoice
    from sealyard_tui.session.connections import WorkspaceConnection

MAX_PASSPHRASE_TRIES = 3
"""How often a passphrase is asked for."""

GC_THRESHOLD = 50_000
"""Made before the next look for garbage. Most of what a start makes stays: Python's 700 cost a sixth of the start."""

GIL_SWITCH_INTERVAL = 0.001
"""How long the engine's thread may keep a key waiting that was pressed meanwhile; Python's 0.005 can be felt."""


def main() -> int:
    """The exit code: 0 after quitting, 128 + n after signal n, 1 after a fault; errors of the family are raised."""
    gc.set_threshold(GC_THRESHOLD)
    sys.setswitchinterval(GIL_SWITCH_INTERVAL)
    settings = load_settings(settings_path())
    if not has_selection(os.environ):
        return welcome(settings)
    profile = resolve(None, None, os.environ)
    return open_server(profile, settings) if profile.server else open_workspace(profile, settings)


# ---- without a workspace


def welcome(settings: Settings) -> int:
    """Until there is a workspace, or the person leaves. What they answered is kept where it cannot be made."""
    from sealyard_tui.appearance.preferences import load_preferences
    from sealyard_tui.screens.welcome.app import WelcomeApp
    from sealyard_tui.screens.welcome.choices import OpenDemoChoice

    wanted, error = None, None
    while True:
        app = WelcomeApp(load_preferences(settings), wanted, error)
        start = app.run(mouse=settings.mouse)
        if start is None:
            return app.return_code or 0
        if isinstance(start, OpenDemoChoice):
            return open_demo(settings)
        try:
            profile, passphrase = create_chosen_workspace(start)
        except SealyardError as refused:
            wanted, error = start, refused
        else:
            return run(profile, passphrase, settings)


def create_chosen_workspace(wanted: CreateWorkspaceChoice) -> tuple[Profile, str | None]:
    """Its administrator's profile, and the passphrase that it was made with. Raises what :func:`create_workspace`
    raises.
    """
    passphrase = None
    if wanted.key_store is KeyStore.PASSPHRASE:
        passphrase = new_passphrase(os.environ, ask_new_passphrase)
    print_error("Making the workspace…")
    making = create_workspace(
        wanted.folder,
        name=wanted.name,
        administrator=wanted.administrator,
        key_store=wanted.key_store,
        passphrase=passphrase,
    )
    return asyncio.run(making), passphrase


def open_demo(settings: Settings) -> int:
    from platformdirs import user_state_path

    from sealyard.client.demo import create_populated_demo, temporary_dir

    print_error("Making a demo workspace…")
    with temporary_dir() as root:
        place = asyncio.run(create_populated_demo(root))
        profile = workspace_profiles(place.folder).get("developer")
        assert profile is not None
        # The folder goes when the application ends; what went wrong in it is to be read afterwards.
        return run(profile, place.passphrase, settings, log=user_state_path("sealyard") / "demo.log")


# ---- passphrases: on the plain terminal alone


class Prompt:
    """Asks for the passphrase of a key store, and knows what was said last; empty: nothing, or nobody was asked."""

    def __init__(self) -> None:
        self.said = ""

    def __call__(self) -> str:
        self.said = ask("Passphrase of the key store: ")
        return self.said


def ask_new_passphrase() -> str:
    """Twice the same. Raises :class:`UsageError`."""
    print_error("The master key is kept under a passphrase. It cannot be recovered: write it down in a safe place.")
    for _ in range(MAX_PASSPHRASE_TRIES):
        first = ask("A passphrase for the new key store: ")
        if not first or ask("The same again: ") == first:
            return first
        print_error("✗ The two are not the same.")
    raise UsageError("The two passphrases were not the same.", "Begin again.")


def ask(question: str) -> str:
    try:
        return getpass.getpass(question)
    except EOFError:
        return ""


def print_error(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


# ---- with a workspace


def open_workspace(profile: Profile, settings: Settings) -> int:
    """Raises :class:`KeyStoreLockedError` where no passphrase opens it, of :data:`MAX_PASSPHRASE_TRIES`."""
    if settings.read_only:
        return run(profile, None, settings)

    def once(prompt: Prompt) -> int:
        # Also where another process holds the workspace now: when it goes, this one may take it over, and could not
        # ask then.
        passphrase = passphrase_for(Path(profile.workspace), os.environ, prompt)
        return run(profile, passphrase, settings)

    return with_passphrase_retries(once)


def open_server(profile: Profile, settings: Settings) -> int:
    """Raises :class:`AuthenticationError` where there is no token, :class:`KeyStoreLockedError` as for a workspace."""
    from sealyard.client.config.server_tokens import load_token

    def once(prompt: Prompt) -> int:
        # Read before Textual: the token may lie under a passphrase. Those of others lie under the same one.
        tokens = {profile: load_token(profile, os.environ, prompt)}

        def found_token(asked: Profile) -> str:
            return tokens.get(asked) or load_token(asked, os.environ, lambda: prompt.said)

        return run_at_server(profile, found_token, settings)

    return with_passphrase_retries(once)


def with_passphrase_retries(once: Callable[[Prompt], int]) -> int:
    """Again after a wrong passphrase that was typed, :data:`MAX_PASSPHRASE_TRIES` times at most."""
    prompt = Prompt()
    for tries in itertools.count(1):
        try:
            return once(prompt)
        except KeyStoreLockedError as error:
            if not prompt.said or tries == MAX_PASSPHRASE_TRIES:
                raise
            print_error(f"✗ {error}")
    raise AssertionError


def run(profile: Profile, passphrase: str | None, settings: Settings, *, log: Path | None = None) -> int:
    """``log``: by default in the workspace's folder.

    Raises :class:`KeyStoreLockedError`: the engine opens beside the first screen, and may find itself locked out.
    """
    from sealyard_tui.session.connections import LocalConnection

    folder = Path(profile.workspace)
    connection = LocalConnection(folder, passphrase, read_only=settings.read_only, group=settings.socket_group)
    log = log or WorkspacePaths(folder).root / "logs" / "application.log"
    return run_app(connection, profile, profiles_of(folder), settings, log)


def run_at_server(profile: Profile, found_token: Callable[[Profile], str], settings: Settings) -> int:
    from platformdirs import user_state_path

    from sealyard_tui.session.connections import ServerConnection

    connection = ServerConnection(profile.server, found_token, read_only=settings.read_only)
    profiles = tuple(each for each in read_profiles(user_profiles_path()).profiles if each.server == profile.server)
    return run_app(connection, profile, profiles, settings, user_state_path("sealyard") / "application.log")


def run_app(
    connection: WorkspaceConnection, profile: Profile, profiles: tuple[Profile, ...], settings: Settings, log: Path
) -> int:
    from sealyard_tui.app import SealyardApp
    from sealyard_tui.appearance.preferences import load_preferences
    from sealyard_tui.session.session import Session

    with contextlib.suppress(OSError):
        log_to_file(log)
    app = SealyardApp(
        Session(connection, profile, profiles),
        settings,
        download_dir=downloads_folder(profile, settings),
        preferences=load_preferences(settings),
    )
    try:
        app.run(mouse=settings.mouse)
    finally:
        asyncio.run(_close(connection))
    if app.key_store_error is not None:
        raise app.key_store_error
    return app.return_code or 0


async def _close(connection: WorkspaceConnection) -> None:
    await connection.close()


def downloads_folder(profile: Profile, settings: Settings) -> Path:
    """Where results go: the settings' folder, the profile's, then the person's usual one."""
    if named := settings.download_dir or profile.downloads:
        return Path(named).expanduser()
    from platformdirs import user_downloads_path

    return user_downloads_path()
