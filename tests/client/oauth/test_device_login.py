"""Test the device authorization grant (RFC 8628)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sealyard.client.oauth.device_login import GRANT_TYPE, DeviceCode, log_in_with_device
from sealyard.client.oauth.issuer import IssuerMetadata, OAuthError
from sealyard.model.errors import AuthenticationError, ServerUnreachableError, UsageError
from tests.support.scripted_issuer import ISSUER, ScriptedIssuer, login_tokens

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 29, tzinfo=UTC)
DEVICE = {
    "device_code": "a-secret-code",
    "user_code": "ABCD-EFGH",
    "verification_uri": f"{ISSUER}/activate",
    "expires_in": 60,
    "interval": 2,
}


class RecordingClock:
    """Records delays instead of waiting."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    def boot_id(self) -> str | None:
        return None

    async def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)


def pending() -> OAuthError:
    return OAuthError("authorization_pending", "")


async def test_polls_until_user_has_logged_in() -> None:
    issuer, clock = ScriptedIssuer(pending(), pending(), login_tokens(NOW), device=DEVICE), RecordingClock()
    shown: list[DeviceCode] = []
    tokens = await log_in_with_device(issuer, shown.append, clock)
    assert tokens == login_tokens(NOW)
    assert clock.delays == [2, 2, 2]
    assert issuer.forms[0] == {"grant_type": GRANT_TYPE, "device_code": "a-secret-code"}
    (code,) = shown
    assert code.user_code == "ABCD-EFGH"
    assert "a-secret-code" not in repr(code)


async def test_slow_down_and_lost_connection_lengthen_interval() -> None:
    issuer, clock = (
        ScriptedIssuer(OAuthError("slow_down", ""), ServerUnreachableError("Lost."), login_tokens(NOW), device=DEVICE),
        RecordingClock(),
    )
    assert await log_in_with_device(issuer, _ignore, clock)
    assert clock.delays == [2, 7, 12]


async def test_code_that_is_never_entered_expires() -> None:
    issuer, clock = ScriptedIssuer(*(pending() for _ in range(30)), device=DEVICE), RecordingClock()
    with pytest.raises(AuthenticationError, match="expired"):
        await log_in_with_device(issuer, _ignore, clock)
    assert sum(clock.delays) == 60


@pytest.mark.parametrize("code", ["access_denied", "expired_token", "invalid_grant"])
async def test_rejected_grant_raises_authentication_error(code: str) -> None:
    issuer = ScriptedIssuer(OAuthError(code, "The\x1b[2J user said no."), device=DEVICE)
    with pytest.raises(AuthenticationError, match=code) as error:
        await log_in_with_device(issuer, _ignore, RecordingClock())
    assert str(error.value).isprintable()
    assert "a-secret-code" not in str(error.value)


async def test_issuer_without_device_grant_raises_usage_error() -> None:
    issuer = ScriptedIssuer(device=DEVICE)
    issuer.metadata = IssuerMetadata(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")
    with pytest.raises(UsageError, match="does not support"):
        await log_in_with_device(issuer, _ignore, RecordingClock())


@pytest.mark.parametrize("member", ["verification_uri", "verification_uri_complete"])
async def test_insecure_url_is_not_shown(member: str) -> None:
    shown: list[Any] = []
    issuer = ScriptedIssuer(device={**DEVICE, member: "http://issuer.example/activate"})
    with pytest.raises(ServerUnreachableError, match="Insecure"):
        await log_in_with_device(issuer, shown.append, RecordingClock())
    assert shown == []


def _ignore(_: DeviceCode) -> None:
    return
