"""An issuer whose responses a test decides, without a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from sealyard.client.config.server_tokens import LoginTokens
from sealyard.client.oauth.issuer import IssuerClient, IssuerMetadata
from sealyard.model.login import LoginMethod

T = TypeVar("T")

ISSUER = "https://issuer.example"
METHOD = LoginMethod(issuer=ISSUER, client_id="cli", scopes="openid offline_access", parameters={"resource": "seal"})


def login_tokens(
    now: datetime, *, name: str = "1", lifetime: float = 300.0, refresh_token: str | None = None
) -> LoginTokens:
    return LoginTokens(
        access_token=f"access-{name}",
        refresh_token=f"refresh-{name}" if refresh_token is None else refresh_token,
        refresh_at=now + timedelta(seconds=lifetime * 0.75),
        expires_at=now + timedelta(seconds=lifetime),
        method=METHOD,
    )


class ScriptedIssuer(IssuerClient):
    """Answers token requests with ``responses`` in order; exceptions are raised. ``forms``: the requests."""

    def __init__(self, *responses: LoginTokens | Exception, device: Mapping[str, Any] | None = None) -> None:
        super().__init__(METHOD)
        self.metadata = IssuerMetadata(
            issuer=ISSUER,
            token_endpoint=f"{ISSUER}/token",
            authorization_endpoint=f"{ISSUER}/auth",
            device_authorization_endpoint=f"{ISSUER}/device",
        )
        self.forms: list[Mapping[str, str]] = []
        self.on_request: Callable[[], None] = lambda: None
        self._responses = list(responses)
        self._device = device

    def discover(self) -> IssuerMetadata:
        return self.metadata

    def post(self, url: str, form: Mapping[str, str], response_type: type[T]) -> T:
        return msgspec.convert(self._device, response_type)

    def request_tokens(self, form: Mapping[str, str], now: datetime) -> LoginTokens:
        self.forms.append(form)
        self.on_request()
        response = self._responses.pop(0)
        if isinstance(response, Exception):
            raise response
        return response
