"""``sealyard profile``: named profiles, each a workspace or server and an identity on it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from sealyard.cli.arguments import Commands, add_command, add_command_group, folder
from sealyard.cli.context import Context
from sealyard.cli.exit_codes import ExitCode
from sealyard.cli.output import format_table
from sealyard.client.config import profiles
from sealyard.client.config.profiles import Profile, ProfileFile
from sealyard.model.access import parse_subject
from sealyard.model.errors import NotFoundError, UsageError
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspacePaths

_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def add_commands(commands: Commands) -> None:
    subcommands = add_command_group(commands, "profile", "Manage profiles: a workspace or server and an identity on it")
    add_command(subcommands, "list", _list, "List profiles")
    add_parser = add_command(
        subcommands, "add", _add, "Add a profile for a workspace, or change the profile with this name"
    )
    add_parser.add_argument("name", metavar="NAME", help="name of the profile")
    add_parser.add_argument("--identity", metavar="SUBJECT", required=True, help="your identity, for example USER:anna")
    add_parser.add_argument("--downloads", metavar="DIR", type=folder, help="folder for results")
    add_parser.add_argument(
        "--shared", action="store_true", help="store the profile in the workspace, for all of its users"
    )
    use_parser = add_command(subcommands, "use", _use, "Set the default profile")
    use_parser.add_argument("name", metavar="NAME", help="name of the profile")


def _list(ctx: Context) -> int:
    workspace = _selected_workspace(ctx)
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
    headers = ("DEFAULT", "NAME", "IDENTITY", "WORKSPACE OR SERVER", "SHARED")
    ctx.out.result(value, format_table(headers, rows, "No profiles."))
    return ExitCode.OK


def validate_name(name: str) -> None:
    """Raise :class:`UsageError` if ``name`` is not a valid profile name."""
    if not _NAME_PATTERN.fullmatch(name):
        raise UsageError(f"Invalid profile name {name!r}.", "Use letters, digits, '.', '_' and '-'.")


def _add(ctx: Context) -> int:
    args = ctx.args
    validate_name(args.name)
    workspace = _selected_workspace(ctx) or ctx.folder
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
    """Set the default profile of the user.

    With ``--workspace``, set the default profile of the workspace instead, if it has a profile with this name.
    """
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


def _selected_workspace(ctx: Context) -> Path | None:
    return profiles.selected_workspace(getattr(ctx.args, "workspace", None), os.environ)
