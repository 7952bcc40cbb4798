"""Server tokens, stored in the OS keyring or, if there is none, in an encrypted file. Never stored in plain text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.client.config.profiles import Profile
from sealyard.client.log import register_secret
from sealyard.keys.passphrase import find_passphrase
from sealyard.model.errors import AuthenticationError
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

TOKEN_VARIABLE = "SEALYARD_TOKEN"  # noqa: S105 - the name of a variable, not a secret
SERVICE = "sealyard"

Ask = Callable[[], str] | None
"""Prompts the user for the passphrase of the encrypted token file. None unless a user is at a terminal."""


def load_token(profile: Profile, environ: Mapping[str, str], ask: Ask) -> str:
    """Return the token from the environment, or else the stored token of ``profile``.

    Raises :class:`AuthenticationError` if there is no token, and :class:`KeyStoreLockedError` if the stored tokens
    cannot be read.
    """
    token = environ.get(TOKEN_VARIABLE) or _load_stored_token(_keyring_user(profile), environ, ask)
    if not token:
        raise AuthenticationError(
            f"No token stored for {escape_text(profile.location)} on this machine.",
            f"Log in with `sealyard login {escape_text(profile.server)}`, or set {TOKEN_VARIABLE}.",
        )
    register_secret(token)
    return token


def save_token(profile: Profile, token: str, environ: Mapping[str, str], ask: Ask) -> None:
    """Store the token of ``profile``, replacing an earlier one.

    Raises :class:`KeyStoreLockedError` if the token cannot be stored.
    """
    from sealyard.keys.master_key import call_os_keyring, os_keyring_available

    user = _keyring_user(profile)
    if os_keyring_available():
        call_os_keyring(lambda keyring: keyring.set_password(SERVICE, user, token))
    else:
        _open_token_file(environ, ask).set_password(SERVICE, user, token)


def delete_token(profile: Profile, environ: Mapping[str, str], ask: Ask) -> None:
    """Delete the token of ``profile`` from the OS keyring and from the encrypted file, if it is stored there.

    Raises :class:`KeyStoreLockedError` if the stored tokens cannot be read.
    """
    from sealyard.keys.master_key import call_os_keyring, os_keyring_available

    user = _keyring_user(profile)
    if os_keyring_available():
        call_os_keyring(lambda keyring: _delete_from(keyring, user))
    if tokens_file().exists():
        _delete_from(_open_token_file(environ, ask), user)


def tokens_file() -> Path:
    from platformdirs import user_config_path

    return user_config_path("sealyard") / "tokens.json"


def _load_stored_token(user: str, environ: Mapping[str, str], ask: Ask) -> str | None:
    from sealyard.keys.master_key import call_os_keyring, os_keyring_available

    token = call_os_keyring(lambda keyring: keyring.get_password(SERVICE, user)) if os_keyring_available() else None
    if token is None and tokens_file().exists():
        token = _open_token_file(environ, ask).get_password(SERVICE, user)
    return token


def _open_token_file(environ: Mapping[str, str], ask: Ask) -> KeyringBackend:
    from sealyard.keys.file_keyring import EncryptedFileKeyring

    passphrase = find_passphrase(environ, ask)
    register_secret(passphrase)
    return EncryptedFileKeyring(tokens_file(), passphrase)


def _delete_from(keyring: KeyringBackend, user: str) -> None:
    if keyring.get_password(SERVICE, user) is not None:
        keyring.delete_password(SERVICE, user)


def _keyring_user(profile: Profile) -> str:
    """Return the name under which the token is stored.

    It does not contain the name of the profile, so that profiles of one identity on one server share the token.
    """
    return f"server {profile.server} {profile.tenant} {profile.identity}"
