"""The user's settings: a TOML file, overridden by environment variables.

Keys are snake_case. State that the application saves itself (the last screen, a sort order) is kept in state files, not
here. Identities and workspaces are in the profiles.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sealyard.model.base import FrozenStruct
from sealyard.model.display_zone import LOCAL
from sealyard.model.errors import UsageError

CONFIG_VARIABLE = "SEALYARD_CONFIG"
NO_COLOR_THEME = "ansi-dark"
"""Textual's theme with the terminal's palette, the only one that emits no color codes if NO_COLOR is set."""

Animations = Literal["none", "basic", "full"]
Symbols = Literal["auto", "unicode", "ascii"]
StartScreen = Literal["last", "dashboard", "upload", "approvals", "audit", "devices", "access"]


DEFAULT_EDITORS = ("editor", "vi", "nano")
"""Programs to edit text with if no editor is set; ``editor`` is Debian's alternative."""

DEFAULT_SETTLE_SECONDS = 2.0
"""Default of ``watch.settle``."""

DEFAULT_KEY_CHECK_MINUTES = 10.0
"""Default of ``key_check_minutes``."""


class DropAction(StrEnum):
    """What to do with a dropped entry that is ready."""

    PROPOSE = "propose"
    SUBMIT = "submit"


class WatchFolderSettings(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """Settings of the watch folder; :mod:`sealyard.client.watch_folder.scan` defines which files become packages."""

    folder: Annotated[str, Meta(description="Folder whose files become packages. If empty, no folder is watched.")] = ""
    device: Annotated[str, Meta(description="Device configuration of these packages.")] = ""
    on_drop: Annotated[
        DropAction, Meta(description="propose: ask before creating a package. submit: create it immediately.")
    ] = DropAction.PROPOSE
    settle: Annotated[
        float, Meta(ge=0.1, le=3600, description="Seconds without a change after which a file counts as complete.")
    ] = DEFAULT_SETTLE_SECONDS
    force_polling: Annotated[
        bool, Meta(description="Scan the folder every 2 s; needed if the system reports no changes in it.")
    ] = False
    justification: Annotated[str, Meta(description="Why these packages are needed, for their approvers.")] = ""


class Settings(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """All settings with their defaults. The field names are the keys of the file, in snake_case."""

    theme: Annotated[
        str, Meta(description="A theme of Sealyard or Textual, or a file in themes/ next to this file.")
    ] = "sealyard-dark"
    compact: Annotated[bool, Meta(description="Reduce padding and borders, for small terminals.")] = False
    mouse: Annotated[bool, Meta(description="Use the mouse; false leaves it to the terminal.")] = True
    animations: Annotated[Animations, Meta(description="Animations: none (reduced motion), basic or full.")] = "none"
    symbols: Annotated[
        Symbols, Meta(description="Signs and lines: unicode, ascii, or auto (ascii if the locale is not UTF-8).")
    ] = "auto"
    bell: Annotated[bool, Meta(description="Ring the terminal's bell when something needs your attention.")] = True
    desktop_notifications: Annotated[
        bool, Meta(description="Also show a desktop notification, if the terminal supports it (OSC 9, OSC 777).")
    ] = False
    socket_group: Annotated[
        str, Meta(description="Operating system group whose members can use the workspace. If empty, only you can.")
    ] = ""
    allow_private_webhooks: Annotated[
        bool,
        Meta(
            description="Allow webhooks and notifications to loopback, link-local and private addresses, and over "
            "unencrypted connections."
        ),
    ] = False
    key_check_minutes: Annotated[
        float,
        Meta(ge=0.1, le=1440, description="Interval at which each active key proves that it works, in minutes."),
    ] = DEFAULT_KEY_CHECK_MINUTES
    read_only: Annotated[bool, Meta(description="Disable all actions that modify the workspace.")] = False
    start_screen: Annotated[StartScreen, Meta(description='Screen to open first ("last": the last one used).')] = (
        "dashboard"
    )
    start_filter: Annotated[str, Meta(description="Filter of the first screen.")] = ""
    download_dir: Annotated[
        str, Meta(description="Folder for results. If empty, that of the profile or the system.")
    ] = ""
    auto_download: Annotated[bool, Meta(description="Download results of your own tasks automatically.")] = True
    editor: Annotated[
        str, Meta(description="Command to edit text. If empty, $VISUAL, $EDITOR, editor, vi or nano.")
    ] = ""
    time_zone: Annotated[
        str, Meta(description='Time zone of displayed times: "local", "UTC" or an IANA name such as "Europe/Berlin".')
    ] = LOCAL
    refresh_interval: Annotated[
        float, Meta(ge=0.2, le=3600, description="Seconds between updates of ages and remaining times.")
    ] = 1.0
    watch: Annotated[WatchFolderSettings, Meta(description="Watch folder.")] = WatchFolderSettings()
    keymap: Annotated[
        dict[str, str], Meta(description='Keys by action, as listed by `?` in the application: "app.help" = "f1,?"')
    ] = msgspec.field(default_factory=dict)


def settings_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the path in `SEALYARD_CONFIG`, or else ``sealyard/settings.toml`` in the XDG configuration directory."""
    if env_path := environ.get(CONFIG_VARIABLE):
        return Path(env_path).absolute()
    from platformdirs import user_config_path

    return user_config_path("sealyard") / "settings.toml"


def no_color(environ: Mapping[str, str]) -> bool:
    """Return whether NO_COLOR is set and not empty (https://no-color.org)."""
    return environ.get("NO_COLOR", "") != ""


def settings_schema() -> dict[str, object]:
    """Return the JSON Schema of the settings file."""
    return msgspec.json.schema(Settings)


def editor_command(settings: Settings, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the editor command, split into arguments, without the file to edit.

    If no editor is set, this is the first of :data:`DEFAULT_EDITORS` in `PATH`. Raises :class:`UsageError` if there is
    none, or if the command cannot be split.
    """
    command = settings.editor or environ.get("VISUAL") or environ.get("EDITOR") or ""
    try:
        arguments = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError("Unbalanced quote in the editor command.", _EDITOR_HINT) from error
    if arguments:
        return arguments
    default_path = next(
        filter(None, (shutil.which(name, path=environ.get("PATH", "")) for name in DEFAULT_EDITORS)), None
    )
    if default_path is None:
        raise UsageError("No editor found.", _EDITOR_HINT)
    return (default_path,)


_EDITOR_HINT = "Set `editor` in the settings, or $VISUAL or $EDITOR."
