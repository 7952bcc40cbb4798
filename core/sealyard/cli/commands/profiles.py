"""`sealyard profile list`, `add` and `use`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec

from sealyard.cli.arguments import Commands, command, folder, group
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_table
from sealyard.client.config import profiles
from sealyard.client.config.profiles import Profile, ProfileFile
from sealyard.model.access import parse_subject
from sealyard.model.errors import NotFoundError, UsageError
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspacePaths

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def add(commands: Commands) -> None:
    family = group(commands, "profile", "Profiles: a workspace or a server and an identity on it, by name.")
    command(family, "list", _list, "Lists the profiles.")
    adding = command(family, "add", _add, "Adds a profile of a workspace, or changes the one of that name.")
    adding.add_argument("name", metavar="NAME")
    adding.add_argument("--identity", metavar="SUBJECT", required=True, help="who one is: USER:anna")
    adding.add_argument("--downloads", metavar="DIR", type=folder, help="where results go")
    adding.add_argument("--shared", action="store_true", help="keep it in the workspace, for whoever opens that")
    using = command(family, "use", _use, "Makes a profile the one that is meant where none is named.")
    using.add_argument("name", metavar="NAME")


def _list(ctx: Context) -> int:
    place = _workspace(ctx)
    current = profiles.read_profiles(profiles.user_profiles_path()).current
    shown = [
        {**msgspec.to_builtins(each), "current": each.name == current, "shared": False}
        for each in profiles.read_profiles(profiles.user_profiles_path()).profiles
    ]
    if place is not None:
        own = profiles.workspace_profiles(place)
        shown += [
            {**msgspec.to_builtins(each), "current": each.name == own.current, "shared": True} for each in own.profiles
        ]
    rows = [("*" if each["current"] else "", each["name"], each["identity"], _location(each)) for each in shown]
    ctx.out.result(shown, format_table(("", "NAME", "IDENTITY", "WORKSPACE OR SERVER"), rows, "There are no profiles."))
    return ExitCode.OK


def _location(shown: dict[str, Any]) -> str:
    return msgspec.convert(shown, Profile).location


def validate_name(name: str) -> None:
    """Raises :class:`UsageError` for what no profile can be called."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a profile.", "Take letters, digits, '.', '_' and '-'.")


def _add(ctx: Context) -> int:
    args = ctx.args
    validate_name(args.name)
    place = _workspace(ctx) or ctx.folder
    profiles.require_workspace(place)
    profile = Profile(
        name=args.name,
        identity=parse_subject(args.identity),
        workspace="" if args.shared else str(place),
        downloads=str(args.downloads.absolute()) if args.downloads else "",
    )
    profiles.add_profile(WorkspacePaths(place).profiles if args.shared else profiles.user_profiles_path(), profile)
    said = f"{profile.name}: {profile.identity} in {place}"
    ctx.out.result(msgspec.structs.replace(profile, workspace=str(place)), (said,))
    return ExitCode.OK


def _use(ctx: Context) -> int:
    """Of a person's own profiles; with --workspace of that workspace's, if it has one of the name."""
    place = getattr(ctx.args, "workspace", None)
    path = profiles.user_profiles_path()
    if place is not None and profiles.workspace_profiles(place.absolute()).get(ctx.args.name):
        path = WorkspacePaths(place).profiles
    file = profiles.read_profiles(path)
    found = file.get(ctx.args.name)
    if found is None:
        raise NotFoundError(f"There is no profile {escape_text(ctx.args.name)}.", "`sealyard profile list` names them.")
    profiles.write_profiles(path, ProfileFile(profiles=file.profiles, current=found.name))
    ctx.out.result(found, (f"From now on you are {found.identity} in {found.location or place}.",))
    return ExitCode.OK


def _workspace(ctx: Context) -> Path | None:
    return profiles.selected_workspace(getattr(ctx.args, "workspace", None), os.environ)
