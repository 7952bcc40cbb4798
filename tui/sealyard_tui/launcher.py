"""Entry point of the application: prepares settings, passphrase and connection, and returns the exit code."""

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

from sealyard.client.config.deferred_key_holder import DeferredKeyHolder
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
from sealyard.client.config.state_file import remove_stale_user_files
from sealyard.client.log import log_to_file
from sealyard.model.errors import KeyStoreLockedError, SealyardError, StorageError
from sealyard.model.key_holder_messages import KeyStoreLocation
from sealyard.model.safe_text import escape_multiline
from sealyard.model.workspace import WorkspacePaths

if TYPE_CHECKING:
    from sealyard.client.config.key_holder import KeyHolder
    from sealyard.client.http.transport import TokenSource
    from sealyard_tui.screens.welcome.choices import CreateWorkspaceChoice
    from sealyard_tui.session.connections import WorkspaceConnection

MAX_PASSPHRASE_TRIES = 3
"""Number of times that the user is prompted for a passphrase before the launch fails."""

GC_THRESHOLD = 50_000
"""Number of allocations that trigger a garbage collection.

With Python's default of 700, collections took a sixth of the startup time, although most objects survive.
"""

GIL_SWITCH_INTERVAL = 0.001
"""Seconds for which the engine's thread can hold the GIL while a key press waits to be handled.

Python's default of 0.005 causes a noticeable delay.
"""


def main(key_holder: KeyHolder | None = None) -> int:
    """Run the application and return its exit code: 0 after quitting, 128 + n after signal n, 1 after a crash.

    ``key_holder``: the key holder of the selected workspace, if it is running already; the caller closes it.
    Raises the errors of :mod:`sealyard.model.errors`; the command line reports them.
    """
    gc.set_threshold(GC_THRESHOLD)
    sys.setswitchinterval(GIL_SWITCH_INTERVAL)
    settings = load_settings(settings_path())
    if not has_selection(os.environ):
        return welcome(settings)
    profile = resolve(None, None, os.environ)
    return open_server(profile, settings) if profile.server else open_workspace(profile, settings, key_holder)


# ---- without a selected workspace


def welcome(settings: Settings) -> int:
    """Let the user create a workspace or open the demo, run the application on it, and return the exit code.

    If the workspace cannot be created, the welcome application opens again with the answers and the error.
    """
    from sealyard_tui.appearance.preferences import load_preferences
    from sealyard_tui.screens.welcome.app import WelcomeApp
    from sealyard_tui.screens.welcome.choices import OpenDemoChoice

    choice, error = None, None
    while True:
        app = WelcomeApp(load_preferences(settings), choice, error)
        selection = app.run(mouse=settings.mouse)
        if selection is None:
            return app.return_code or 0
        if isinstance(selection, OpenDemoChoice):
            return open_demo(settings)
        try:
            profile, key_holder = create_chosen_workspace(selection)
        except SealyardError as failure:
            choice, error = selection, failure
        else:
            with contextlib.closing(key_holder):
                return open_workspace(profile, settings, key_holder)


def create_chosen_workspace(choice: CreateWorkspaceChoice) -> tuple[Profile, KeyHolder]:
    """Create the workspace, and return the profile of its administrator and the key holder.

    The key holder asks for the passphrase, if there is one. Raises the errors of :func:`create_workspace`.
    """
    from sealyard.client.config.key_holder import forget_passphrases, new_key_holder
    from sealyard.client.config.workspaces import create_workspace

    start_key_holder = new_key_holder(may_prompt=True, attempts=MAX_PASSPHRASE_TRIES)
    key_holders: list[KeyHolder] = []

    def start(location: KeyStoreLocation) -> KeyHolder:
        key_holders.append(start_key_holder(location))
        return key_holders[0]

    print_message("Creating the workspace…")
    creation = create_workspace(
        choice.folder,
        name=choice.name,
        administrator=choice.administrator,
        key_store=choice.key_store,
        key_holder=start,
        close_key_holder=False,
    )
    profile = asyncio.run(creation)
    forget_passphrases(os.environ)
    return profile, key_holders[0]


def open_demo(settings: Settings) -> int:
    from platformdirs import user_state_path

    from sealyard.client.demo import create_populated_demo, temporary_dir

    print_message("Creating a demo workspace…")
    with temporary_dir() as root, contextlib.ExitStack() as stack:
        demo = asyncio.run(create_populated_demo(root))
        stack.callback(demo.key_holder.close)
        profile = workspace_profiles(demo.folder).get("developer")
        assert profile is not None
        # The demo directory is deleted at exit, but its log must remain readable afterwards.
        return run(profile, lambda: demo.key_holder, settings, log=user_state_path("sealyard") / "demo.log")


# ---- passphrases, asked for before Textual takes over the terminal


class PassphrasePrompt:
    """A prompt for the passphrase of the stored tokens. ``answer`` is the last answer; empty before the first call."""

    def __init__(self) -> None:
        self.answer = ""

    def __call__(self) -> str:
        self.answer = prompt("Passphrase of the key store: ")
        return self.answer


def prompt(text: str) -> str:
    """Prompt for input without echo, and return it, or an empty string at the end of the input."""
    try:
        return getpass.getpass(text)
    except EOFError:
        return ""


def print_message(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


# ---- with a selected workspace


def open_workspace(profile: Profile, settings: Settings, key_holder: KeyHolder | None = None) -> int:
    """Run the application on a local workspace, and return the exit code.

    Starts the key holder, unless ``key_holder`` is given: before Textual starts if it must prompt for the passphrase,
    else after the first paint, which it would delay. Raises :class:`KeyStoreLockedError` without a passphrase, or after
    :data:`MAX_PASSPHRASE_TRIES` wrong ones.
    """
    if settings.read_only:
        return run(profile, None, settings)
    if key_holder is not None:
        return run(profile, lambda: key_holder, settings)
    with contextlib.closing(DeferredKeyHolder(Path(profile.workspace))) as own_key_holder:
        if own_key_holder.must_prompt():
            own_key_holder.get(may_prompt=True, attempts=MAX_PASSPHRASE_TRIES)
        return run(profile, own_key_holder.get, settings)


def open_server(profile: Profile, settings: Settings) -> int:
    """Run the application for a workspace on a server, and return the exit code.

    Raises :class:`AuthenticationError` if there is no token, and :class:`KeyStoreLockedError` if the stored tokens
    cannot be read.
    """
    from sealyard.client.http.connect import identify
    from sealyard.client.oauth.session import load_token_source

    def launch(ask_passphrase: PassphrasePrompt) -> int:
        # Loaded before Textual starts, because decrypting a token may require a passphrase. The tokens of other
        # profiles are decrypted with the same passphrase.
        first_token = load_token_source(profile, os.environ, ask_passphrase)
        first_profile = profile if profile.identity else asyncio.run(identify(profile, first_token))

        def token_of(user_profile: Profile) -> str | TokenSource:
            if user_profile == first_profile:
                return first_token
            return load_token_source(user_profile, os.environ, lambda: ask_passphrase.answer)

        return run_at_server(first_profile, token_of, settings)

    return launch_with_retries(launch)


def launch_with_retries(launch: Callable[[PassphrasePrompt], int]) -> int:
    """Call ``launch``, retrying after a wrong passphrase, up to :data:`MAX_PASSPHRASE_TRIES` attempts in total."""
    ask_passphrase = PassphrasePrompt()
    for tries in itertools.count(1):
        try:
            return launch(ask_passphrase)
        except KeyStoreLockedError as error:
            if not ask_passphrase.answer or tries == MAX_PASSPHRASE_TRIES:
                raise
            print_message(f"✗ {error}")
    raise AssertionError


def run(
    profile: Profile,
    key_holder: Callable[[], KeyHolder] | None,
    settings: Settings,
    *,
    log: Path | None = None,
) -> int:
    """Run the application on a local workspace, and return the exit code.

    ``key_holder``: returns the key holder of the workspace; None if it is opened read-only. ``log``: the path of the
    log file; by default in the workspace. Raises :class:`KeyStoreLockedError` if the key holder, which is used only
    after the first paint, cannot open the key store.
    """
    from sealyard_tui.session.connections import LocalConnection

    remove_stale_user_files()
    folder = Path(profile.workspace)
    connection = LocalConnection(
        folder,
        key_holder,
        read_only=settings.read_only,
        group=settings.socket_group,
        allow_private_webhooks=settings.allow_private_webhooks,
        key_check_interval=settings.key_check_minutes * 60,
    )
    log = log or WorkspacePaths(folder).root / "logs" / "application.log"
    return run_app(connection, profile, profiles_of(folder), settings, log)


def run_at_server(profile: Profile, token_of: Callable[[Profile], str | TokenSource], settings: Settings) -> int:
    from platformdirs import user_state_path

    from sealyard_tui.session.connections import ServerConnection

    connection = ServerConnection(profile.server, token_of, read_only=settings.read_only)
    user_profiles = read_profiles(user_profiles_path()).profiles
    profiles = tuple(candidate for candidate in user_profiles if candidate.server == profile.server)
    return run_app(connection, profile, profiles, settings, user_state_path("sealyard") / "application.log")


def run_app(
    connection: WorkspaceConnection, profile: Profile, profiles: tuple[Profile, ...], settings: Settings, log: Path
) -> int:
    from sealyard_tui.app import SealyardApp
    from sealyard_tui.appearance.preferences import load_preferences
    from sealyard_tui.session.session import Session

    # The application also works without a log, for example on a read-only disk.
    with contextlib.suppress(StorageError):
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
    if app.discarded_changes:
        print_message(escape_multiline(app.discarded_changes))
    if app.key_store_error is not None:
        raise app.key_store_error
    return app.return_code or 0


async def _close(connection: WorkspaceConnection) -> None:
    await connection.close()


def downloads_folder(profile: Profile, settings: Settings) -> Path:
    """Return the download directory: that of the settings, else that of the profile, else the user's default."""
    if configured_path := settings.download_dir or profile.downloads:
        return Path(configured_path).expanduser()
    from platformdirs import user_downloads_path

    return user_downloads_path()
