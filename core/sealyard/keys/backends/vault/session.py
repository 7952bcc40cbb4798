"""Manage the Vault token: login, renewal before its expiry, and replacement after its loss."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from sealyard.keys.backends.vault.client import Authentication, VaultClient, VaultResponse, capitalize
from sealyard.keys.provider_options import VaultOptions
from sealyard.model.errors import KeyProviderError, SealyardError
from sealyard.model.provider_settings import ProviderSettings, Secrets

RENEWAL_SHARE = 2 / 3
"""A token is renewed after this share of its lifetime."""

RETRY_SECONDS = 15.0
"""Time between two attempts to renew a token."""

LOGIN_PAUSE_SECONDS = 30.0
"""How long no login is tried after one was rejected, because servers lock roles after several rejected logins."""


class VaultSession:
    """Sends requests with a valid token. Can be used by several threads.

    With the option ``role_id``, it logs in by AppRole with the secret ``secret_id``, again after the token was lost.
    Otherwise it uses the secret ``token``.
    """

    def __init__(
        self, client: VaultClient, settings: ProviderSettings, options: VaultOptions, secrets: Secrets
    ) -> None:
        self._client = client
        self._options = options
        self._secret = _decode_secret(settings, "secret_id" if options.role_id else "token", secrets)
        self._lock = threading.Lock()
        """Held during a login or renewal."""
        self._token = ""
        self._renew_at: float | None = None
        self._lifetime = 0.0
        self._login_allowed_at = 0.0
        self._is_closed = False
        self._changed = threading.Event()

    def start(self) -> None:
        """Log in, and start to renew the token in a thread.

        Raises :class:`KeyProviderError` if the login is rejected or the token is not valid, and
        :class:`KeyProviderUnavailableError` if the server does not answer.
        """
        if self._options.role_id:
            self._log_in("")
        else:
            self._adopt_token()
        threading.Thread(target=self._keep_renewing, name="vault-token", daemon=True).start()

    def close(self) -> None:
        self._is_closed = True
        self._changed.set()
        self._client.close()

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> VaultResponse:
        """Send a request with the token; once more with another token if the first one was no longer valid.

        Raises the errors of :meth:`VaultClient.send`, and :class:`KeyProviderError` if there is no valid token.
        """
        token = self._token
        response = self._client.send(method, path, token, body)
        if response.status != HTTPStatus.FORBIDDEN or self._is_valid(token):
            return response
        if not self._options.role_id:
            raise self._token_error()
        self._log_in(token)
        return self._client.send(method, path, self._token, body)

    def _is_valid(self, token: str) -> bool:
        return self._client.send("GET", "auth/token/lookup-self", token).is_success

    def _adopt_token(self) -> None:
        response = self._client.send("GET", "auth/token/lookup-self", self._secret)
        if not response.is_success or response.data is None:
            raise self._token_error()
        self._store(
            Authentication(
                client_token=self._secret,
                lease_duration=float(response.data.get("ttl", 0)),
                renewable=response.data.get("renewable") is True,
            )
        )

    def _log_in(self, lost_token: str) -> None:
        """Log in, unless another thread has replaced ``lost_token`` already."""
        with self._lock:
            if self._token != lost_token:
                return
            if time.monotonic() < self._login_allowed_at:
                raise self._login_error()
            body = {"role_id": self._options.role_id, "secret_id": self._secret}
            response = self._client.send("POST", f"auth/{self._options.auth_mount}/login", "", body)
            if response.auth is None:
                self._login_allowed_at = time.monotonic() + LOGIN_PAUSE_SECONDS
                raise self._login_error()
            self._store(response.auth)

    def _store(self, auth: Authentication) -> None:
        now = time.monotonic()
        self._token = auth.client_token
        self._lifetime = max(self._lifetime, auth.lease_duration)
        can_renew = auth.lease_duration and (auth.renewable or self._options.role_id)
        self._renew_at = now + auth.lease_duration * RENEWAL_SHARE if can_renew else None
        self._changed.set()

    def _keep_renewing(self) -> None:
        while True:
            renew_at = self._renew_at
            self._changed.wait(None if renew_at is None else max(0.0, renew_at - time.monotonic()))
            if self._is_closed:
                return
            if self._changed.is_set():
                self._changed.clear()
                continue
            self._renew()

    def _renew(self) -> None:
        """Renew the token, or replace it by a login if it cannot be renewed for much longer.

        A failure is not reported: the next request fails with the same error if it lasts.
        """
        self._renew_at = time.monotonic() + RETRY_SECONDS
        token = self._token
        try:
            response = self._client.send("POST", "auth/token/renew-self", token, {})
            auth = response.auth
            if auth is not None and (auth.lease_duration > self._lifetime / 2 or not self._options.role_id):
                with self._lock:
                    if self._token == token:
                        self._store(auth)
            elif self._options.role_id:
                self._log_in(token)
        except (
            SealyardError,
            RuntimeError,
        ):  # the HTTP library raises RuntimeError if the session was closed meanwhile
            return

    def _login_error(self) -> KeyProviderError:
        return KeyProviderError(
            f"{capitalize(self._client.service)} rejected the login with role_id and secret_id.",
            "Create a new secret_id for the role, and check the options role_id and auth_mount.",
        )

    def _token_error(self) -> KeyProviderError:
        return KeyProviderError(
            f"{capitalize(self._client.service)} does not accept the token of the worker settings: it has "
            "expired, was revoked, or is wrong.",
            "Create a new token, store it where the worker settings name it, and restart Sealyard. A login by AppRole "
            "(role_id) does not need this.",
        )


def _decode_secret(settings: ProviderSettings, name: str, secrets: Secrets) -> str:
    """Return a secret that can be sent in a header.

    Raises :class:`KeyProviderError` without the secret; the HTTP library would quote it.
    """
    value = secrets.require(name, settings)
    if not all(0x21 <= byte <= 0x7E for byte in value):  # noqa: PLR2004 - printable ASCII
        raise KeyProviderError(
            f"The secret {name} of the key provider {settings.name} has characters that are not printable ASCII.",
            "Write only the secret to its file.",
        )
    return value.decode("ascii")
