"""Tokens of servers, kept on this machine: in the OS keyring, else in an encrypted file of our own; never in plain."""

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

TOKEN_VARIABLE = "SEALYARD_TOKEN"  # noqa: S105 - the name of a variable
SERVICE = "sealyard"

Ask = Callable[[], str] | None
"""Asks for the passphrase of our own file; only where a person sits at a terminal."""


def load_token(profile: Profile, environ: Mapping[str, str], ask: Ask) -> str:
    """The environment's token, else the one that is kept.

    Raises :class:`AuthenticationError` where there is none, :class:`KeyStoreLockedError`.
    """
    token = environ.get(TOKEN_VARIABLE) or _kept(_user(profile), environ, ask)
    if not token:
        raise AuthenticationError(
            f"There is no token for {escape_text(profile.location)} on this machine.",
            f"sealyard login {escape_text(profile.server)}, or set {TOKEN_VARIABLE}.",
        )
    register_secret(token)
    return token


def save_token(profile: Profile, token: str, environ: Mapping[str, str], ask: Ask) -> None:
    """In the place of an older one. Raises :class:`KeyStoreLockedError`."""
    from sealyard.keys.master_key import call_os_keyring, os_keyring_available

    user = _user(profile)
    if os_keyring_available():
        call_os_keyring(lambda keyring: keyring.set_password(SERVICE, user, token))
    else:
        _file(environ, ask).set_password(SERVICE, user, token)


def delete_token(profile: Profile, environ: Mapping[str, str], ask: Ask) -> None:
    """Wherever it is kept, if it is. Raises :class:`KeyStoreLockedError`."""
    from sealyard.keys.master_key import call_os_keyring, os_keyring_available

    user = _user(profile)
    if os_keyring_available():
        call_os_keyring(lambda keyring: _drop(keyring, user))
    if tokens_file().exists():
        _drop(_file(environ, ask), user)


def tokens_file() -> Path:
    from platformdirs import user_config_path

    return user_config_path("sealyard") / "tokens.json"


def _kept(user: str, environ: Mapping[str, str], ask: Ask) -> str | None:
    from sealyard.keys.master_key import call_os_keyring, os_keyring_available

    found = call_os_keyring(lambda keyring: keyring.get_password(SERVICE, user)) if os_keyring_available() else None
    if found is None and tokens_file().exists():
        found = _file(environ, ask).get_password(SERVICE, user)
    return found


def _file(environ: Mapping[str, str], ask: Ask) -> KeyringBackend:
    from sealyard.keys.file_keyring import EncryptedFileKeyring

    passphrase = find_passphrase(environ, ask)
    register_secret(passphrase)
    return EncryptedFileKeyring(tokens_file(), passphrase)


def _drop(keyring: KeyringBackend, user: str) -> None:
    if keyring.get_password(SERVICE, user) is not None:
        keyring.delete_password(SERVICE, user)


def _user(profile: Profile) -> str:
    """A token is somebody's on a server, whatever the profile is called."""
    return f"server {profile.server} {profile.tenant} {profile.identity}"
