"""Where the `sealyard` command finds the application: what must be known before it takes the terminal, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.client.log import log_to_file
from sealyard.client.profiles import Profile, profiles_of, resolve
from sealyard.client.settings import Settings, read_settings, settings_file
from sealyard.client.workspaces import passphrase_for
from sealyard.model.errors import UsageError
from sealyard.model.workspace import Places

if TYPE_CHECKING:
    from sealyard_tui.session import EmbeddedConnection


def main() -> int:
    """The exit code: 0 after quitting, 128 + n after signal n, 1 after a fault; errors of the family are raised."""
    require_terminal()
    settings = read_settings(settings_file())
    profile = resolve(None, None, os.environ)
    folder = Path(profile.workspace)
    passphrase = passphrase_for(folder, os.environ, ask_passphrase)
    return run(folder, profile, passphrase, settings)


def require_terminal() -> None:
    """Raises :class:`UsageError` where nobody could see the application."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("The application needs a terminal.", "`sealyard --help` shows what works without one.")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError(
            "This terminal cannot show the application (TERM is dumb).", "`sealyard --help` shows what works here."
        )


def ask_passphrase() -> str:
    try:
        return getpass.getpass("Passphrase of the key store: ")
    except EOFError:
        return ""


def run(folder: Path, profile: Profile, passphrase: str | None, settings: Settings) -> int:
    from sealyard_tui.app import SealyardApp
    from sealyard_tui.preferences import read_preferences
    from sealyard_tui.session import EmbeddedConnection, Session

    with contextlib.suppress(OSError):
        log_to_file(Places(folder).root / "logs" / "application.log")
    connection = EmbeddedConnection(folder, passphrase, read_only=settings.read_only)
    session = Session(connection, profile, profiles_of(folder))
    app = SealyardApp(
        session,
        settings,
        downloads=downloads_folder(profile, settings),
        preferences=read_preferences(settings),
    )
    try:
        app.run(mouse=settings.mouse)
    finally:
        asyncio.run(_close(connection))
    return app.return_code or 0


async def _close(connection: EmbeddedConnection) -> None:
    await connection.close()


def downloads_folder(profile: Profile, settings: Settings) -> Path:
    """Where results go: the settings' folder, the profile's, then the person's usual one."""
    if named := settings.downloads or profile.downloads:
        return Path(named).expanduser()
    from platformdirs import user_downloads_path

    return user_downloads_path()
