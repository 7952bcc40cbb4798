"""``sealyard login`` and ``logout``: profiles for servers, and their stored tokens."""

from __future__ import annotations

import functools
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from sealyard.cli.arguments import Commands, add_command, input_path
from sealyard.cli.commands.profiles import validate_name
from sealyard.cli.context import Context, ask_passphrase, is_interactive
from sealyard.cli.exit_codes import ExitCode
from sealyard.client.config import profiles, server_tokens
from sealyard.client.config.profiles import Profile
from sealyard.client.config.server_tokens import LoginTokens, PassphrasePrompt, StoredToken
from sealyard.client.config.servers import TOKEN_VARIABLE, environment_token, parse_server_url
from sealyard.client.log import register_secret
from sealyard.concurrency.clock import SystemClock
from sealyard.model.errors import (
    InvalidInputError,
    KeyStoreLockedError,
    NotFoundError,
    ServerUnreachableError,
    UsageError,
)
from sealyard.model.login import LoginMethod
from sealyard.model.requests import WorkspaceInfo
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from sealyard.client.oauth.device_login import DeviceCode

TIMEOUT = 10.0
"""Seconds to wait for the server to verify the token. Short, because the user waits."""
_MAX_TOKEN_LENGTH = 16384


def add_commands(commands: Commands) -> None:
    parser = add_command(commands, "login", _login, "Log in to a server and make its profile the default")
    parser.add_argument("server", metavar="URL", help="URL of the server, for example https://seal.example:8443")
    parser.add_argument("--tenant", metavar="NAME", default="", help="tenant, if the server has several")
    parser.add_argument("--name", metavar="PROFILE", help="name of the profile; by default the host name of the server")
    parser.add_argument(
        "--ca",
        metavar="FILE",
        type=input_path,
        help="CA certificates (PEM) to trust in addition to those of the system",
    )
    parser.add_argument("--issuer", metavar="URL", help="issuer to log in with, if the server accepts several")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--browser", action="store_true", help="log in through the issuer in a browser on this machine")
    way.add_argument("--device", action="store_true", help="log in with a code that you enter in any browser")
    way.add_argument("--token", action="store_true", help="log in with a token, from the prompt or standard input")
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
    token = await _obtain_token(ctx, profile)
    profiles.require_writable_profiles()
    info = await _verify_token(profile, token if isinstance(token, str) else token.access_token)
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


async def _obtain_token(ctx: Context, profile: Profile) -> StoredToken:
    """Obtain the token to store: either from the user, or by logging in through an issuer."""
    args = ctx.args
    through_issuer = args.browser or args.device or args.issuer is not None
    has_token = environment_token(profile.server, os.environ) or not sys.stdin.isatty()
    if args.token or (has_token and not through_issuer):
        return _read_token(profile.server)
    import asyncio

    from sealyard.client.oauth.login_methods import fetch_login_methods

    methods = await asyncio.to_thread(fetch_login_methods, profile)
    if not methods and not through_issuer:
        return _read_token(profile.server)
    return await _log_in_through_issuer(ctx, profile, _select_method(methods, args.issuer))


def _select_method(methods: tuple[LoginMethod, ...], issuer: str | None) -> LoginMethod:
    """Return the login method for ``issuer``, or the only method if ``issuer`` is None.

    Raises :class:`UsageError` unless exactly one method matches.
    """
    candidates = [method for method in methods if issuer is None or method.issuer.rstrip("/") == issuer.rstrip("/")]
    if len(candidates) == 1:
        return candidates[0]
    if not methods:
        raise UsageError("The server offers no login through an issuer.", "Log in with --token.")
    issuers = ", ".join(escape_text(method.issuer, 200) for method in methods)
    if candidates:
        raise UsageError("The server accepts several issuers.", f"Choose one with --issuer: {issuers}.")
    raise UsageError(f"The server offers no login through {escape_text(issuer or '', 200)}.", f"It offers: {issuers}.")


async def _log_in_through_issuer(ctx: Context, profile: Profile, method: LoginMethod) -> LoginTokens:
    from sealyard.client.oauth.browser_login import can_open_browser, log_in_with_browser
    from sealyard.client.oauth.device_login import log_in_with_device
    from sealyard.client.oauth.issuer import IssuerClient

    args, issuer = ctx.args, IssuerClient(method, profile.ca)
    ctx.out.warn(f"Logging in to {profile.location} through {method.issuer}.")
    if environment_token(profile.server, os.environ):
        ctx.out.warn(f"{TOKEN_VARIABLE} is set, and takes precedence over this login.")
    if args.browser or (not args.device and can_open_browser(os.environ)):
        return await log_in_with_browser(issuer, lambda url: _open_browser(ctx, url), SystemClock())
    return await log_in_with_device(issuer, lambda code: _show_code(ctx, code), SystemClock())


def _open_browser(ctx: Context, url: str) -> None:
    """Open the URL in a browser, and print it in case no browser opens."""
    import threading
    import webbrowser

    ctx.out.warn(f"Continue in your browser. If it does not open, visit {url}")
    # In a thread, because opening some browsers blocks until they exit.
    threading.Thread(target=webbrowser.open, args=(url,), name="browser", daemon=True).start()


def _show_code(ctx: Context, code: DeviceCode) -> None:
    ctx.out.warn(f"Open {code.verification_uri} in a browser on any device, and enter the code {code.user_code}")
    if code.verification_uri_complete:
        ctx.out.warn(f"Or open {code.verification_uri_complete}")


async def _verify_token(profile: Profile, token: str) -> WorkspaceInfo:
    """Verify the token with the server, and return the workspace and the subject that the token authenticates."""
    from sealyard.client.http.connect import connect_to_server

    client = connect_to_server(profile, token, retry_timeout=TIMEOUT)
    try:
        return await client.workspace()
    finally:
        await client.close()


def _with_name(profile: Profile, name: str | None) -> Profile:
    """Return ``profile`` with its name set.

    Without ``name``, the name is derived from the host name of the server. If an existing profile for the same login
    already has this name, it is replaced.
    """
    file = profiles.read_profiles(profiles.user_profiles_path())
    host = urlsplit(profile.server).hostname or ""
    login = (profile.server, profile.tenant, profile.identity)
    unused_name = file.free_name(
        host,
        lambda existing_profile: (existing_profile.server, existing_profile.tenant, existing_profile.identity) == login,
    )
    return msgspec.structs.replace(profile, name=name or unused_name)


def _save_token(ctx: Context, profile: Profile, token: StoredToken) -> None:
    """Store the token. If this fails but the token comes from the environment, only print a warning."""
    try:
        server_tokens.save_token(profile, token, os.environ, ask_passphrase if is_interactive() else None)
    except KeyStoreLockedError as error:
        if not environment_token(profile.server, os.environ) or not isinstance(token, str):
            raise
        ctx.out.warn(f"Token not stored; keep {TOKEN_VARIABLE} set. {error.message}")


def _read_token(server: str) -> str:
    """Return the token from the environment, a prompt or standard input.

    The token is never a command-line argument, because other users of the machine could see it. Raises
    :class:`UsageError` if the token is missing or malformed.
    """
    token = environment_token(server, os.environ) or _prompt_for_token(server)
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            "Invalid token.",
            f"Enter a token from `sealyard token create` at the prompt, on standard input, or in {TOKEN_VARIABLE}.",
        )
    register_secret(token)
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


async def _logout(ctx: Context) -> int:
    file = profiles.read_profiles(profiles.user_profiles_path())
    name = ctx.args.name or getattr(ctx.args, "profile", None) or file.current
    profile = file.get(name)
    if profile is None or not profile.server:
        raise NotFoundError(
            f"Server profile {escape_text(name)!r} not found.", "List profiles with `sealyard profile list`."
        )
    prompt = functools.cache(ask_passphrase) if is_interactive() else None
    await _revoke_login(ctx, profile, prompt)
    server_tokens.delete_token(profile, os.environ, prompt)
    profiles.write_profiles(profiles.user_profiles_path(), file.without(profile))
    ctx.out.result(profile, (f"Logged out from {profile.location}; deleted profile {profile.name}.",))
    return ExitCode.OK


async def _revoke_login(ctx: Context, profile: Profile, prompt: PassphrasePrompt) -> None:
    """Revoke the stored refresh token at its issuer.

    If this fails, only print a warning, because the token is deleted anyway.
    """
    import asyncio

    from sealyard.client.oauth.issuer import IssuerClient, OAuthError

    token = server_tokens.load_stored_token(profile, os.environ, prompt)
    if not isinstance(token, LoginTokens) or not token.refresh_token:
        return
    try:
        await asyncio.to_thread(IssuerClient(token.method, profile.ca).revoke, token.refresh_token)
    except (OAuthError, ServerUnreachableError) as error:
        ctx.out.warn(f"The login was not ended at {token.method.issuer}: {error}")
