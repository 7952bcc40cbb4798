"""`sealyard profile`: named profiles, each a workspace or server and an identity on it."""

from __future__ import annotations

import os
import re
from pathlib import Path

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
    family = group(commands, "profile", "Manage profiles: a workspace or server and an identity on it")
    command(family, "list", _list, "List profiles")
    adding = command(family, "add", _add, "Add a profile for a workspace, or change the profile with this name")
    adding.add_argument("name", metavar="NAME", help="name of the profile")
    adding.add_argument("--identity", metavar="SUBJECT", required=True, help="your identity, for example USER:anna")
    adding.add_argument("--downloads", metavar="DIR", type=folder, help="folder for results")
    adding.add_argument(
        "--shared", action="store_true", help="store the profile in the workspace, for all of its users"
    )
    using = command(family, "use", _use, "Set the default profile")
    using.add_argument("name", metavar="NAME", help="name of the profile")


def _list(ctx: Context) -> int:
    workspace = _workspace(ctx)
    files = [(profiles.read_profiles(profiles.user_profiles_path()), False)]
    if workspace is not None:
        files.append((profiles.workspace_profiles(workspace), True))
    value = [
        {**msgspec.to_builtins(profile), "current": profile.name == file.current, "shared": is_shared}
        for file, is_shared in files
        for profile in file.profiles
    ]
    rows = [
        (
            "*" if profile.name == file.current else "",
            profile.name,
            profile.identity,
            profile.location,
            "yes" if is_shared else "",
        )
        for file, is_shared in files
        for profile in file.profiles
    ]
    heads = ("DEFAULT", "NAME", "IDENTITY", "WORKSPACE OR SERVER", "SHARED")
    ctx.out.result(value, format_table(heads, rows, "No profiles."))
    return ExitCode.OK


def validate_name(name: str) -> None:
    """Raise :class:`UsageError` if a profile cannot have this name."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"Invalid profile name {name!r}.", "Use letters, digits, '.', '_' and '-'.")


def _add(ctx: Context) -> int:
    args = ctx.args
    validate_name(args.name)
    workspace = _workspace(ctx) or ctx.folder
    profiles.require_workspace(workspace)
    profile = Profile(
        name=args.name,
        identity=parse_subject(args.identity),
        workspace="" if args.shared else str(workspace),
        downloads=str(args.downloads.absolute()) if args.downloads else "",
    )
    path = WorkspacePaths(workspace).profiles if args.shared else profiles.user_profiles_path()
    profiles.add_profile(path, profile)
    text = f"Saved profile {profile.name}: {profile.identity} in {workspace}."
    ctx.out.result(msgspec.structs.replace(profile, workspace=str(workspace)), (text,))
    return ExitCode.OK


def _use(ctx: Context) -> int:
    """Set the default among the user's profiles, or with --workspace among the workspace's profiles if it is there."""
    workspace = getattr(ctx.args, "workspace", None)
    path = profiles.user_profiles_path()
    if workspace is not None and profiles.workspace_profiles(workspace.absolute()).get(ctx.args.name):
        path = WorkspacePaths(workspace).profiles
    file = profiles.read_profiles(path)
    profile = file.get(ctx.args.name)
    if profile is None:
        raise NotFoundError(
            f"Profile {escape_text(ctx.args.name)} not found.", "List profiles with `sealyard profile list`."
        )
    profiles.write_profiles(path, ProfileFile(profiles=file.profiles, current=profile.name))
    location = profile.location or workspace
    ctx.out.result(profile, (f"Default profile: {profile.name} ({profile.identity} in {location}).",))
    return ExitCode.OK


def _workspace(ctx: Context) -> Path | None:
    return profiles.selected_workspace(getattr(ctx.args, "workspace", None), os.environ)
