"""Server tokens, stored in the OS keyring or, without a keyring, in an encrypted file; never in plain text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sealyard.client.config.profiles import Profile
from sealyard.client.log import register_secret
from sealyard.keys.passphrase import find_passphrase
from sealyard.model.errors import AuthenticationError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

TOKEN_VARIABLE = "SEALYARD_TOKEN"  # noqa: S105 - the name of an environment variable, not a secret
KEYRING_SERVICE = "sealyard"

PassphrasePrompt = Callable[[], str] | None
"""Prompts the user for the passphrase of the encrypted token file; None if no user is at a terminal."""


def load_token(profile: Profile, environ: Mapping[str, str], prompt: PassphrasePrompt) -> str:
    """Return the token from the environment, or else the stored token of ``profile``.

    Raises :class:`AuthenticationError` if there is no token, and :class:`KeyStoreLockedError` if the stored tokens
    cannot be read.
    """
    token = environ.get(TOKEN_VARIABLE) or _load_stored_token(_keyring_user(profile), environ, prompt)
    if not token:
        raise AuthenticationError(
            f"No token stored for {escape_text(profile.location)} on this machine.",
            Hint.of(HintCode.LOG_IN, server=escape_text(profile.server)),
        )
    register_secret(token)
    return token


def save_token(profile: Profile, token: str, environ: Mapping[str, str], prompt: PassphrasePrompt) -> None:
    """Store ``token`` as the token of ``profile``, replacing an earlier one.

    Raises :class:`KeyStoreLockedError` if the token cannot be stored.
    """
    from sealyard.keys.master_key import call_os_keyring, os_keyring_available

    keyring_user = _keyring_user(profile)
    if os_keyring_available():
        call_os_keyring(lambda keyring: keyring.set_password(KEYRING_SERVICE, keyring_user, token))
    else:
        _open_token_file(environ, prompt).set_password(KEYRING_SERVICE, keyring_user, token)


def delete_token(profile: Profile, environ: Mapping[str, str], prompt: PassphrasePrompt) -> None:
    """Delete the stored token of ``profile``, from both the OS keyring and the encrypted file.

    Raises :class:`KeyStoreLockedError` if the stored tokens cannot be read.
    """
    from sealyard.keys.master_key import call_os_keyring, os_keyring_available

    keyring_user = _keyring_user(profile)
    if os_keyring_available():
        call_os_keyring(lambda keyring: _delete_password(keyring, keyring_user))
    if tokens_file().exists():
        _delete_password(_open_token_file(environ, prompt), keyring_user)


def tokens_file() -> Path:
    from platformdirs import user_config_path

    return user_config_path("sealyard") / "tokens.json"


def _load_stored_token(keyring_user: str, environ: Mapping[str, str], prompt: PassphrasePrompt) -> str | None:
    from sealyard.keys.master_key import call_os_keyring, os_keyring_available

    token = (
        call_os_keyring(lambda keyring: keyring.get_password(KEYRING_SERVICE, keyring_user))
        if os_keyring_available()
        else None
    )
    if token is None and tokens_file().exists():
        token = _open_token_file(environ, prompt).get_password(KEYRING_SERVICE, keyring_user)
    return token


def _open_token_file(environ: Mapping[str, str], prompt: PassphrasePrompt) -> KeyringBackend:
    from sealyard.keys.file_keyring import EncryptedFileKeyring

    passphrase = find_passphrase(environ, prompt)
    register_secret(passphrase)
    return EncryptedFileKeyring(tokens_file(), passphrase)


def _delete_password(keyring: KeyringBackend, keyring_user: str) -> None:
    if keyring.get_password(KEYRING_SERVICE, keyring_user) is not None:
        keyring.delete_password(KEYRING_SERVICE, keyring_user)


def _keyring_user(profile: Profile) -> str:
    """Return the user name under which the keyring stores the token of ``profile``.

    It does not contain the profile's name, so that all profiles of one identity on one server share a token.
    """
    return f"server {profile.server} {profile.tenant} {profile.identity}"
