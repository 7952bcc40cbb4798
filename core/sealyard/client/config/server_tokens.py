"""Server tokens, stored in the OS keyring or, without a keyring, in an encrypted file; never in plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec

from sealyard.client.config.profiles import Profile
from sealyard.client.config.servers import environment_token
from sealyard.client.log import register_secret
from sealyard.fs.locks import lock_file
from sealyard.fs.private import make_private_dir
from sealyard.keys.passphrase import find_passphrase
from sealyard.model.base import JSON_ERRORS, SecretStruct
from sealyard.model.errors import AuthenticationError, StorageError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.login import LoginMethod
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from sealyard.keys.master_key import Keyring

KEYRING_SERVICE = "sealyard"

PassphrasePrompt = Callable[[], str] | None
"""Prompts the user for the passphrase of the encrypted token file; None if no user is at a terminal."""


class LoginTokens(SecretStruct, frozen=True, kw_only=True):
    """The tokens of a login through an issuer.

    ``refresh_token``: empty if the issuer issued none. ``refresh_at``: time at which the access token is refreshed,
    before it expires at ``expires_at``. ``method``: the client to which the tokens were issued.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("method", "expires_at")

    access_token: str
    refresh_token: str
    refresh_at: datetime
    expires_at: datetime
    method: LoginMethod


StoredToken = str | LoginTokens
"""An access token of the server itself, or the tokens of a login through an issuer."""


def load_token(profile: Profile, environ: Mapping[str, str], prompt: PassphrasePrompt) -> StoredToken:
    """Return the token from the environment, or else the stored token of ``profile``.

    Raises :class:`AuthenticationError` if there is no token, and :class:`KeyStoreLockedError` if the stored tokens
    cannot be read.
    """
    token = environment_token(profile.server, environ) or _load_stored_token(_keyring_user(profile), environ, prompt)
    if not token:
        raise AuthenticationError(
            f"No token stored for {escape_text(profile.location)} on this machine.",
            Hint.of(HintCode.LOG_IN, server=escape_text(profile.server)),
        )
    return _decode_token(token)


def load_stored_token(profile: Profile, environ: Mapping[str, str], prompt: PassphrasePrompt) -> StoredToken | None:
    """Return the stored token of ``profile``, whatever the environment contains, or None.

    Raises :class:`KeyStoreLockedError` if the stored tokens cannot be read.
    """
    stored = _load_stored_token(_keyring_user(profile), environ, prompt)
    return _decode_token(stored) if stored else None


def save_token(profile: Profile, token: StoredToken, environ: Mapping[str, str], prompt: PassphrasePrompt) -> None:
    """Store ``token`` as the token of ``profile``, replacing an earlier one.

    Raises :class:`KeyStoreLockedError` if the token cannot be stored.
    """
    with _lock_tokens():
        _write_token(_keyring_user(profile), token, environ, prompt)


def update_token(
    profile: Profile,
    environ: Mapping[str, str],
    prompt: PassphrasePrompt,
    update: Callable[[StoredToken | None], LoginTokens],
) -> LoginTokens:
    """Replace the stored token of ``profile`` by the result of ``update``, and return the result.

    ``update`` receives the stored token, which no other process can change meanwhile. Nothing is written if it returns
    the same token. Raises :class:`KeyStoreLockedError` if the token cannot be read or stored.
    """
    with _lock_tokens():
        stored_token = load_stored_token(profile, environ, prompt)
        token = update(stored_token)
        if token != stored_token:
            _write_token(_keyring_user(profile), token, environ, prompt)
        return token


def delete_token(profile: Profile, environ: Mapping[str, str], prompt: PassphrasePrompt) -> None:
    """Delete the stored token of ``profile``, from both the OS keyring and the encrypted file.

    Raises :class:`KeyStoreLockedError` if the stored tokens cannot be read.
    """
    from sealyard.keys.master_key import call_os_keyring, os_keyring_available

    keyring_user = _keyring_user(profile)
    with _lock_tokens():
        if os_keyring_available():
            call_os_keyring(lambda keyring: _delete_password(keyring, keyring_user))
        if tokens_file().exists():
            _delete_password(_open_token_file(environ, prompt), keyring_user)


def tokens_file() -> Path:
    from platformdirs import user_config_path

    return user_config_path("sealyard") / "tokens.json"


@contextmanager
def _lock_tokens() -> Iterator[None]:
    """Keep other threads and processes from changing tokens. Raises :class:`StorageError` if this is impossible."""
    path = tokens_file().with_suffix(".lock")
    with ExitStack() as stack:
        try:
            make_private_dir(path.parent)
            stack.enter_context(lock_file(path))
        except OSError as error:
            raise StorageError(f"Cannot lock {escape_text(str(path))}: {error.strerror}.") from error
        yield


def _decode_token(stored: str) -> StoredToken:
    """Decode a stored token. The tokens of a login are stored as a JSON object, which no other token can be."""
    if not stored.startswith("{"):
        register_secret(stored)
        return stored
    try:
        tokens = msgspec.json.decode(stored, type=LoginTokens)
    except JSON_ERRORS:
        raise AuthenticationError("The stored login cannot be read.", "Log in again.") from None
    register_secret(tokens.access_token)
    register_secret(tokens.refresh_token)
    return tokens


def _write_token(keyring_user: str, token: StoredToken, environ: Mapping[str, str], prompt: PassphrasePrompt) -> None:
    from sealyard.keys.master_key import call_os_keyring, os_keyring_available

    text = token if isinstance(token, str) else msgspec.json.encode(token).decode()
    if os_keyring_available():
        call_os_keyring(lambda keyring: keyring.set_password(KEYRING_SERVICE, keyring_user, text))
    else:
        _open_token_file(environ, prompt).set_password(KEYRING_SERVICE, keyring_user, text)


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


def _open_token_file(environ: Mapping[str, str], prompt: PassphrasePrompt) -> Keyring:
    from sealyard.keys.file_keyring import EncryptedFileKeyring

    passphrase = find_passphrase(environ, prompt)
    register_secret(passphrase)
    return EncryptedFileKeyring(tokens_file(), passphrase)


def _delete_password(keyring: Keyring, keyring_user: str) -> None:
    if keyring.get_password(KEYRING_SERVICE, keyring_user) is not None:
        keyring.delete_password(KEYRING_SERVICE, keyring_user)


def _keyring_user(profile: Profile) -> str:
    """Return the user name under which the keyring stores the token of ``profile``.

    It does not contain the profile's name, so that all profiles of one identity on one server share a token.
    """
    return f"server {profile.server} {profile.tenant} {profile.identity}"
