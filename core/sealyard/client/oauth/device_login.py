"""Login with a code that the user enters in a browser on any device (RFC 8628)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, ClassVar

from msgspec import Meta

from sealyard.client.config.server_tokens import LoginTokens
from sealyard.client.config.servers import is_secure_url
from sealyard.client.log import register_secret
from sealyard.client.oauth.issuer import IssuerClient, OAuthError
from sealyard.model.base import SecretStruct
from sealyard.model.clock import Clock
from sealyard.model.errors import AuthenticationError, ServerUnreachableError, UsageError
from sealyard.model.safe_text import escape_text

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"
SLOW_DOWN_SECONDS = 5.0
"""Time by which the interval grows if the issuer asks for it or is unreachable (RFC 8628, section 3.5)."""

MAX_LIFETIME_SECONDS = 1800.0
"""Maximum time to wait for the user, whatever the issuer allows."""


class DeviceCode(SecretStruct, frozen=True, kw_only=True, rename=str):
    """A device authorization response (RFC 8628, section 3.2). ``user_code`` is for the user, and no secret."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("verification_uri", "user_code", "expires_in")

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str = ""
    expires_in: Annotated[float, Meta(ge=0)] = 600.0
    interval: Annotated[float, Meta(ge=0)] = 5.0


async def log_in_with_device(issuer: IssuerClient, show: Callable[[DeviceCode], None], clock: Clock) -> LoginTokens:
    """Request a code, pass it to ``show``, and wait until the user has entered it at the issuer.

    Raises :class:`AuthenticationError` if the user refuses or the code expires, :class:`UsageError` if the issuer does
    not support the grant, and :class:`ServerUnreachableError` if it does not respond.
    """
    try:
        code = await asyncio.to_thread(_request_code, issuer)
        show(code)
        return await _poll(issuer, code, clock)
    except OAuthError as error:
        raise error.to_authentication_error(issuer.method.issuer) from None


def _request_code(issuer: IssuerClient) -> DeviceCode:
    endpoint = issuer.discover().device_authorization_endpoint
    if not endpoint:
        raise UsageError(
            f"{escape_text(issuer.method.issuer)} does not support logins by code.",
            "Log in in a browser on this machine, or with a token.",
        )
    code = issuer.post(endpoint, {"scope": issuer.method.scopes}, DeviceCode)
    register_secret(code.device_code)
    for url in filter(None, (code.verification_uri, code.verification_uri_complete)):
        if not is_secure_url(url):
            raise ServerUnreachableError(f"Insecure URL of the issuer: {escape_text(url, 200)}.")
    return code


async def _poll(issuer: IssuerClient, code: DeviceCode, clock: Clock) -> LoginTokens:
    form = {"grant_type": GRANT_TYPE, "device_code": code.device_code}
    interval, waited = code.interval, 0.0
    while waited < min(code.expires_in, MAX_LIFETIME_SECONDS):
        await clock.sleep(interval)
        waited += interval
        try:
            return await asyncio.to_thread(issuer.request_tokens, form, clock.now())
        except ServerUnreachableError:
            interval += SLOW_DOWN_SECONDS
        except OAuthError as error:
            if error.code not in ("authorization_pending", "slow_down"):
                raise
            if error.code == "slow_down":
                interval += SLOW_DOWN_SECONDS
    raise AuthenticationError("The code has expired before it was entered.", "Log in again.")
