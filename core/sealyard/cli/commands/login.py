"""`sealyard login` and `logout`: servers, and the tokens for them on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from sealyard.cli.arguments import Commands, command
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
"""Seconds: whoever logs in looks on."""
_MAX_TOKEN_LENGTH = 16384


def add(commands: Commands) -> None:
    entering = command(commands, "login", _login, "Keeps a token for a server, and makes it the one that is meant.")
    entering.add_argument("server", metavar="SERVER", help="its address: https://seal.example:8443")
    entering.add_argument("--tenant", metavar="T", default="", help="where the server has several")
    entering.add_argument("--name", metavar="PROFILE", help="what the profile is called; by default like the server")
    entering.add_argument("--ca", metavar="FILE", type=Path, help="certificates (PEM) to trust besides the system's")
    leaving = command(commands, "logout", _logout, "Forgets the token for a server, and the profile.")
    leaving.add_argument("name", metavar="PROFILE", nargs="?", help="by default the one that is meant")


async def _login(ctx: Context) -> int:
    args = ctx.args
    if args.name is not None:
        validate_name(args.name)
    ca = str(args.ca.absolute()) if args.ca else ""
    asked = Profile(name="", identity="", server=parse_server_url(args.server), tenant=args.tenant, ca=ca)
    token = _token(asked.server)
    register_secret(token)
    info = await _verify_token(asked, token)
    profile = _named(msgspec.structs.replace(asked, identity=info.subject), args.name)
    _save_token(ctx, profile, token)
    profiles.add_profile(profiles.user_profiles_path(), profile, current=True)
    value = {**msgspec.to_builtins(profile), "workspaceName": info.name}
    lines = (
        f"You are {profile.identity} in {info.name} at {profile.location}.",
        f"The profile is {profile.name}, and meant where none is named.",
    )
    ctx.out.result(value, lines)
    return ExitCode.OK


async def _verify_token(profile: Profile, token: str) -> WorkspaceInfo:
    """Whom the server takes the token's bearer for."""
    from sealyard.client.http.connect import connect_to_server

    client = connect_to_server(profile, token, retry_timeout=TIMEOUT)
    try:
        return await client.workspace()
    finally:
        await client.close()


def _named(profile: Profile, name: str | None) -> Profile:
    file = profiles.read_profiles(profiles.user_profiles_path())
    wanted = urlsplit(profile.server).hostname or ""
    same = (profile.server, profile.tenant, profile.identity)
    free = file.free_name(wanted, lambda taken: (taken.server, taken.tenant, taken.identity) == same)
    return msgspec.structs.replace(profile, name=name or free)


def _save_token(ctx: Context, profile: Profile, token: str) -> None:
    """A token of the environment is there anyway: where it cannot be kept, that is no failure."""
    try:
        server_tokens.save_token(profile, token, os.environ, ask_passphrase if is_interactive() else None)
    except KeyStoreLockedError as error:
        if not os.environ.get(server_tokens.TOKEN_VARIABLE):
            raise
        ctx.out.warn(f"The token is not kept, {server_tokens.TOKEN_VARIABLE} has to stay set: {error.message}")


def _token(server: str) -> str:
    """Never from the command line, where others could read it."""
    token = os.environ.get(server_tokens.TOKEN_VARIABLE) or _prompt(server)
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            "What was given is no token.",
            f"Type at the prompt, pipe in, or set in {server_tokens.TOKEN_VARIABLE} what `sealyard token create` gave.",
        )
    return token


def _prompt(server: str) -> str:
    if sys.stdin.isatty():
        return ask_passphrase(f"Token for {escape_text(server)}: ").strip()
    try:
        return sys.stdin.readline(_MAX_TOKEN_LENGTH).strip()
    except UnicodeDecodeError:
        raise InvalidInputError("What was piped in is no text.", "Pipe the token in, and nothing else.") from None


def _logout(ctx: Context) -> int:
    file = profiles.read_profiles(profiles.user_profiles_path())
    name = ctx.args.name or getattr(ctx.args, "profile", None) or file.current
    profile = file.get(name)
    if profile is None or not profile.server:
        raise NotFoundError(
            f"There is no profile {escape_text(name)!r} of a server.", "`sealyard profile list` names them."
        )
    server_tokens.delete_token(profile, os.environ, ask_passphrase if is_interactive() else None)
    profiles.write_profiles(profiles.user_profiles_path(), file.without(profile))
    ctx.out.result(profile, (f"The token for {profile.location} is forgotten, and the profile {profile.name}.",))
    return ExitCode.OK
