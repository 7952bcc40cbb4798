"""The tokens of a login, refreshed before the access token expires."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from sealyard.client.config.profiles import Profile
from sealyard.client.config.server_tokens import (
    LoginTokens,
    PassphrasePrompt,
    StoredToken,
    load_token,
    update_token,
)
from sealyard.client.http.transport import TokenSource
from sealyard.client.oauth.issuer import IssuerClient, OAuthError
from sealyard.concurrency.clock import SystemClock
from sealyard.concurrency.threads import run_uncancellable
from sealyard.model.clock import Clock
from sealyard.model.errors import AuthenticationError, IssuerUnreachableError, ServerUnreachableError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text

RETRY_SECONDS = 5.0
"""Time after which a failed refresh is repeated, while the access token is still valid."""


def load_token_source(profile: Profile, environ: Mapping[str, str], prompt: PassphrasePrompt) -> str | TokenSource:
    """Return the token of ``profile``, or a source of tokens if it has to be refreshed.

    Prompts for the passphrase at most once, also when tokens are refreshed later. Raises the same errors as
    :func:`load_token`.
    """
    prompt_once = functools.cache(prompt) if prompt is not None else None
    token = load_token(profile, environ, prompt_once)
    if isinstance(token, str):
        return token
    return LoginSession(profile, token, environ, prompt_once).access_token


class LoginSession:
    """The login of a profile. Its methods can be called from any thread and event loop."""

    def __init__(
        self,
        profile: Profile,
        tokens: LoginTokens,
        environ: Mapping[str, str],
        prompt: PassphrasePrompt,
        clock: Clock | None = None,
    ) -> None:
        self._profile = profile
        self._tokens = tokens
        self._environ = environ
        self._prompt = prompt
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()

    async def access_token(self) -> str:
        """Return a valid access token.

        Raises :class:`AuthenticationError` if the user must log in again, :class:`IssuerUnreachableError` if the token
        has expired and the issuer is unreachable, and :class:`KeyStoreLockedError` if the new tokens cannot be stored.
        """
        if not self._is_fresh(self._tokens):
            # Not cancellable: an issuer that rotates refresh tokens rejects the old one once it has issued a new one.
            await run_uncancellable(self._refresh)
        return self._tokens.access_token

    def _refresh(self) -> None:
        with self._lock:
            if self._is_fresh(self._tokens):
                return
            try:
                self._tokens = update_token(self._profile, self._environ, self._prompt, self._refresh_stored)
            except (AuthenticationError, IssuerUnreachableError):
                now = self._clock.now()
                if now >= self._tokens.expires_at:
                    raise
                retry_at = min(self._tokens.expires_at, now + timedelta(seconds=RETRY_SECONDS))
                self._tokens = msgspec.structs.replace(self._tokens, refresh_at=retry_at)

    def _refresh_stored(self, stored_token: StoredToken | None) -> LoginTokens:
        """Return the stored tokens if another process has refreshed them, or else new tokens."""
        if not isinstance(stored_token, LoginTokens):
            raise self._session_ended("The login was removed from this machine.")
        if self._is_fresh(stored_token):
            return stored_token
        if not stored_token.refresh_token:
            raise self._session_ended("The login has expired.")
        form = {"grant_type": "refresh_token", "refresh_token": stored_token.refresh_token}
        try:
            tokens = IssuerClient(stored_token.method, self._profile.ca).request_tokens(form, self._clock.now())
        except OAuthError as error:
            issuer = escape_text(stored_token.method.issuer)
            raise self._session_ended(f"{issuer} has ended the login ({escape_text(error.code, 60)}).") from None
        except ServerUnreachableError as error:
            raise IssuerUnreachableError(error.message, error.structured_hint) from error
        # An issuer that does not rotate refresh tokens sends no new one. The new tokens are used even if they cannot be
        # stored, because the issuer may have invalidated the old ones.
        refresh_token = tokens.refresh_token or stored_token.refresh_token
        self._tokens = msgspec.structs.replace(tokens, refresh_token=refresh_token)
        return self._tokens

    def _is_fresh(self, tokens: LoginTokens) -> bool:
        return self._clock.now() < tokens.refresh_at

    def _session_ended(self, message: str) -> AuthenticationError:
        return AuthenticationError(
            f"{message} Log in again.", Hint.of(HintCode.LOG_IN, server=escape_text(self._profile.server))
        )
