"""Test the refresh of stored tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from sealyard.client.config import server_tokens
from sealyard.client.config.profiles import Profile
from sealyard.client.config.server_tokens import LoginTokens, delete_token, load_token, save_token
from sealyard.client.http.transport import TokenSource
from sealyard.client.log import redact
from sealyard.client.oauth import session
from sealyard.client.oauth.issuer import OAuthError
from sealyard.client.oauth.session import RETRY_SECONDS, LoginSession, load_token_source
from sealyard.keys import file_keyring
from sealyard.model.errors import AuthenticationError, IssuerUnreachableError, ServerUnreachableError, StorageError
from sealyard.model.hints import HintCode
from tests.support.clock import FakeClock
from tests.support.key_holders import LOW_COST
from tests.support.scripted_issuer import ScriptedIssuer, login_tokens

pytestmark = pytest.mark.anyio

PROFILE = Profile(name="seal", identity="USER:anna", server="https://seal.example")
ENVIRON = {"SEALYARD_PASSPHRASE": "a canary among passphrases"}

OpenSession = Callable[..., tuple[LoginSession, ScriptedIssuer]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def open_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> OpenSession:
    """Stores tokens, and opens a session with a scripted issuer."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(file_keyring, "DEFAULT_COST", LOW_COST)
    monkeypatch.setattr("sealyard.keys.master_key.os_keyring_available", lambda: False)

    def open_session(
        *responses: LoginTokens | Exception, refresh_token: str | None = None
    ) -> tuple[LoginSession, ScriptedIssuer]:
        tokens = login_tokens(clock.now(), refresh_token=refresh_token)
        save_token(PROFILE, tokens, ENVIRON, None)
        issuer = ScriptedIssuer(*responses)
        monkeypatch.setattr(session, "IssuerClient", lambda *_: issuer)
        return LoginSession(PROFILE, tokens, ENVIRON, None, clock), issuer

    return open_session


def stored() -> LoginTokens:
    token = load_token(PROFILE, ENVIRON, None)
    assert isinstance(token, LoginTokens)
    return token


async def test_fresh_token_is_used_without_request(open_session: OpenSession) -> None:
    login, issuer = open_session()
    assert await login.access_token() == "access-1"
    assert issuer.forms == []


async def test_token_is_refreshed_before_expiry_and_stored(open_session: OpenSession, clock: FakeClock) -> None:
    new = login_tokens(clock.now() + timedelta(seconds=240), name="2")
    login, issuer = open_session(new)
    clock.advance(seconds=240)
    assert await login.access_token() == "access-2"
    assert issuer.forms == [{"grant_type": "refresh_token", "refresh_token": "refresh-1"}]
    assert stored() == new
    assert await login.access_token() == "access-2"


async def test_refresh_token_is_kept_if_not_rotated(open_session: OpenSession, clock: FakeClock) -> None:
    login, _ = open_session(login_tokens(clock.now() + timedelta(seconds=240), name="2", refresh_token=""))
    clock.advance(seconds=240)
    assert await login.access_token() == "access-2"
    assert stored().refresh_token == "refresh-1"


async def test_refreshed_token_is_used_even_if_it_cannot_be_stored(
    open_session: OpenSession, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    login, issuer = open_session(login_tokens(clock.now() + timedelta(seconds=240), name="2"))
    clock.advance(seconds=240)

    def fail(*_: object) -> None:
        raise StorageError("Disk full.")

    monkeypatch.setattr(server_tokens, "_write_token", fail)
    with pytest.raises(StorageError):
        await login.access_token()
    assert await login.access_token() == "access-2"
    assert len(issuer.forms) == 1


async def test_concurrent_callers_share_one_refresh(open_session: OpenSession, clock: FakeClock) -> None:
    login, issuer = open_session(login_tokens(clock.now() + timedelta(seconds=240), name="2"))
    clock.advance(seconds=240)
    assert await asyncio.gather(*(login.access_token() for _ in range(5))) == ["access-2"] * 5
    assert len(issuer.forms) == 1


async def test_tokens_refreshed_by_another_process_are_used(open_session: OpenSession, clock: FakeClock) -> None:
    login, issuer = open_session()
    clock.advance(seconds=240)
    save_token(PROFILE, login_tokens(clock.now(), name="other"), ENVIRON, None)
    assert await login.access_token() == "access-other"
    assert issuer.forms == []


async def test_cancelled_caller_does_not_lose_rotated_token(open_session: OpenSession, clock: FakeClock) -> None:
    new = login_tokens(clock.now() + timedelta(seconds=240), name="2")
    login, issuer = open_session(new)
    loop, requested = asyncio.get_running_loop(), asyncio.Event()
    issuer.on_request = lambda: loop.call_soon_threadsafe(requested.set)  # type: ignore[assignment]
    clock.advance(seconds=240)
    caller = asyncio.create_task(login.access_token())
    await requested.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert stored() == new


@pytest.mark.parametrize("error", [OAuthError("invalid_grant", ""), ServerUnreachableError("Down.")])
async def test_valid_token_is_used_while_refresh_fails(
    open_session: OpenSession, clock: FakeClock, error: Exception
) -> None:
    login, issuer = open_session(error, error, error)
    clock.advance(seconds=240)
    assert await login.access_token() == "access-1"
    assert await login.access_token() == "access-1"
    assert len(issuer.forms) == 1
    clock.advance(seconds=RETRY_SECONDS)
    assert await login.access_token() == "access-1"
    assert len(issuer.forms) == 2
    clock.advance(seconds=60)
    with pytest.raises((AuthenticationError, IssuerUnreachableError)):
        await login.access_token()


async def test_revoked_login_says_log_in_again(open_session: OpenSession, clock: FakeClock) -> None:
    login, _ = open_session(OAuthError("invalid_grant", "refresh-1 was revoked"))
    clock.advance(seconds=400)
    with pytest.raises(AuthenticationError, match="Log in again") as error:
        await login.access_token()
    assert error.value.structured_hint.code == HintCode.LOG_IN
    assert "refresh-1" not in str(error.value)


async def test_login_without_refresh_token_ends_at_expiry(open_session: OpenSession, clock: FakeClock) -> None:
    login, issuer = open_session(refresh_token="")
    clock.advance(seconds=299)
    assert await login.access_token() == "access-1"
    clock.advance(seconds=2)
    with pytest.raises(AuthenticationError, match="Log in again"):
        await login.access_token()
    assert issuer.forms == []


async def test_logout_ends_session_of_other_processes(open_session: OpenSession, clock: FakeClock) -> None:
    login, issuer = open_session()
    delete_token(PROFILE, ENVIRON, None)
    clock.advance(seconds=400)
    with pytest.raises(AuthenticationError, match="removed from this machine"):
        await login.access_token()
    assert issuer.forms == []


def test_loaded_tokens_are_redacted_in_logs(open_session: OpenSession) -> None:
    open_session()
    stored()
    assert redact("access-1 and refresh-1") == "*** and ***"


def test_token_of_server_needs_no_session(open_session: OpenSession) -> None:
    open_session()
    save_token(PROFILE, "sy_0123abcd_static", ENVIRON, None)
    assert load_token_source(PROFILE, ENVIRON, None) == "sy_0123abcd_static"
    assert load_token_source(PROFILE, {**ENVIRON, "SEALYARD_TOKEN": "sy_env"}, None) == "sy_env"


def test_passphrase_is_asked_for_once(open_session: OpenSession, clock: FakeClock) -> None:
    _, issuer = open_session(login_tokens(clock.now(), name="2", lifetime=10**10))
    expired = msgspec.structs.replace(stored(), refresh_at=clock.now() - timedelta(days=9000))
    save_token(PROFILE, expired, ENVIRON, None)
    prompts: list[str] = []

    def prompt() -> str:
        prompts.append("asked")
        return "a canary among passphrases"

    source = load_token_source(PROFILE, {}, prompt)
    assert callable(source)
    assert asyncio.run(_await(source)) == "access-2"
    assert len(issuer.forms) == 1
    assert prompts == ["asked"]


async def _await(source: TokenSource) -> str:
    return await source()
