"""`sealyard login` and `logout`: profiles for servers, and their stored tokens."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from sealyard.cli.arguments import Commands, add_command
from sealyard.cli.commands.profiles import validate_name
from sealyard.cli.context import Context, ask_passphrase, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.client.config import profiles, server_tokens
from sealyard.client.config.profiles import Profile
from sealyard.client.config.servers import parse_server_url
from sealyard.client.log import register_secret
from sealyard.model.errors import InvalidInputError, KeyStoreLockedError, NotFoundError, UsageError
from sealyard.model.requests import WorkspaceInfo
from sealyard.model.safe_text import escape_text

TIMEOUT = 10.0
"""Seconds to wait for the server to verify the token. Short, because the user waits."""
_MAX_TOKEN_LENGTH = 16384


def add_commands(commands: Commands) -> None:
    parser = add_command(commands, "login", _login, "Store a token for a server and make its profile the default")
    parser.add_argument("server", metavar="URL", help="URL of the server, for example https://seal.example:8443")
    parser.add_argument("--tenant", metavar="NAME", default="", help="tenant, if the server has several")
    parser.add_argument("--name", metavar="PROFILE", help="name of the profile; by default the host name of the server")
    parser.add_argument(
        "--ca", metavar="FILE", type=Path, help="CA certificates (PEM) to trust in addition to those of the system"
    )
    parser = add_command(commands, "logout", _logout, "Delete the token for a server and its profile")
    parser.add_argument(
        "name", metavar="PROFILE", nargs="?", help="name of the profile; by default the default profile"
    )


async def _login(ctx: Context) -> int:
    args = ctx.args
    if args.name is not None:
        validate_name(args.name)
    ca = str(args.ca.absolute()) if args.ca else ""
    profile = Profile(name="", identity="", server=parse_server_url(args.server), tenant=args.tenant, ca=ca)
    token = _read_token(profile.server)
    register_secret(token)
    profiles.require_writable_profiles()
    info = await _verify_token(profile, token)
    profile = _with_name(msgspec.structs.replace(profile, identity=info.subject), args.name)
    _save_token(ctx, profile, token)
    profiles.add_profile(profiles.user_profiles_path(), profile, current=True)
    value = {**msgspec.to_builtins(profile), "workspaceName": info.name}
    lines = (
        f"Logged in to {info.name} at {profile.location} as {profile.identity}.",
        f"Profile {profile.name} is now the default.",
    )
    ctx.out.result(value, lines)
    return ExitCode.OK


async def _verify_token(profile: Profile, token: str) -> WorkspaceInfo:
    """Verify the token with the server, and return the workspace and subject to which it gives access."""
    from sealyard.client.http.connect import connect_to_server

    client = connect_to_server(profile, token, retry_timeout=TIMEOUT)
    try:
        return await client.workspace()
    finally:
        await client.close()


def _with_name(profile: Profile, name: str | None) -> Profile:
    """Return ``profile`` with a name.

    This is ``name`` if given, else the name of an existing profile for the same login, else one derived from the host.
    """
    file = profiles.read_profiles(profiles.user_profiles_path())
    host = urlsplit(profile.server).hostname or ""
    login = (profile.server, profile.tenant, profile.identity)
    unused_name = file.free_name(
        host,
        lambda existing_profile: (existing_profile.server, existing_profile.tenant, existing_profile.identity) == login,
    )
    return msgspec.structs.replace(profile, name=name or unused_name)


def _save_token(ctx: Context, profile: Profile, token: str) -> None:
    """Store the token. If this fails, and the token is in the environment, only print a warning."""
    try:
        server_tokens.save_token(profile, token, os.environ, ask_passphrase if is_interactive() else None)
    except KeyStoreLockedError as error:
        if not os.environ.get(server_tokens.TOKEN_VARIABLE):
            raise
        ctx.out.warn(f"Token not stored; keep {server_tokens.TOKEN_VARIABLE} set. {error.message}")


def _read_token(server: str) -> str:
    """Return the token from the environment, a prompt or standard input.

    It is never a command-line argument, because other users of the machine can see those. Raises :class:`UsageError` if
    the token is missing or malformed.
    """
    token = os.environ.get(server_tokens.TOKEN_VARIABLE) or _prompt_for_token(server)
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            "Invalid token.",
            f"Enter a token from `sealyard token create` at the prompt, on standard input, or in "
            f"{server_tokens.TOKEN_VARIABLE}.",
        )
    return token


def _prompt_for_token(server: str) -> str:
    if sys.stdin.isatty():
        return ask_passphrase(f"Token for {escape_text(server)}: ").strip()
    try:
        return sys.stdin.readline(_MAX_TOKEN_LENGTH).strip()
    except UnicodeDecodeError:
        raise InvalidInputError("Invalid token: not text.", "Write only the token to standard input.") from None
    except OSError as error:
        raise InvalidInputError(
            f"Cannot read the token from standard input ({error.strerror}).", "Write the token to standard input."
        ) from error


def _logout(ctx: Context) -> int:
    file = profiles.read_profiles(profiles.user_profiles_path())
    name = ctx.args.name or getattr(ctx.args, "profile", None) or file.current
    profile = file.get(name)
    if profile is None or not profile.server:
        raise NotFoundError(
            f"Server profile {escape_text(name)!r} not found.", "List profiles with `sealyard profile list`."
        )
    server_tokens.delete_token(profile, os.environ, ask_passphrase if is_interactive() else None)
    profiles.write_profiles(profiles.user_profiles_path(), file.without(profile))
    ctx.out.result(profile, (f"Logged out from {profile.location}; deleted profile {profile.name}.",))
    return ExitCode.OK
