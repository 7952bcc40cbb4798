"""Tests of access tokens: creation, authentication, expiry, revocation, and protection of the secret."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from sealyard.client.log import redact
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import AccessToken, IssuedToken, PresentedToken, TokenRequest
from sealyard.model.errors import AuthenticationError, NotFoundError, PermissionDeniedError, UsageError
from tests.support.engine_harness import ADMIN, CLIENT, DEV, OWNER, EngineHarness

pytestmark = pytest.mark.anyio

DAY = 24 * 3600


async def issue(
    harness: EngineHarness, by: str = DEV, presented_token: PresentedToken | None = None, **request: Any
) -> IssuedToken:
    token_request = TokenRequest(**{"name": "laptop", **request})
    return await harness.execute(by, harness.engine.tokens.create(by, token_request, presented_token))


def create_presented_token(harness: EngineHarness, seconds: int, *, by_issuer: bool = False) -> PresentedToken:
    return PresentedToken(expires_at=harness.clock.now() + timedelta(seconds=seconds), external=by_issuer)


async def revoke(harness: EngineHarness, by: str, token: AccessToken) -> None:
    await harness.execute(by, harness.engine.tokens.revoke(by, token.id))


def authenticate(harness: EngineHarness, secret: str) -> AccessToken:
    return harness.engine.tokens.authenticate(secret)


async def test_token_authenticates_its_subject(harness: EngineHarness) -> None:
    issued = await issue(harness)
    token = authenticate(harness, issued.secret)
    assert token == issued.token
    assert (token.subject, token.created_by, token.is_machine) == (DEV, DEV, False)
    await harness.reopen()
    assert authenticate(harness, issued.secret) == token


async def test_token_with_other_secret_is_rejected(harness: EngineHarness) -> None:
    first, second = await issue(harness, DEV), await issue(harness, OWNER)
    assert authenticate(harness, first.secret).subject == DEV
    assert authenticate(harness, second.secret).subject == OWNER
    mixed_secret = f"sy_{first.token.id}_{second.secret.rpartition('_')[2]}"
    with pytest.raises(AuthenticationError):
        authenticate(harness, mixed_secret)


async def test_authentication_failures_have_identical_message(harness: EngineHarness) -> None:
    revoked_token, expired_token, valid_token = (
        await issue(harness),
        await issue(harness, seconds=60),
        await issue(harness),
    )
    await revoke(harness, DEV, revoked_token.token)
    harness.clock.advance(seconds=60)
    wrong_secret = valid_token.secret[:-1] + ("0" if valid_token.secret[-1] != "0" else "1")
    unknown_secret = "sy_0000000000_" + "0" * 64
    invalid_secrets = (
        revoked_token.secret,
        expired_token.secret,
        wrong_secret,
        unknown_secret,
        "",
        "sy_",
        valid_token.secret.upper(),
        valid_token.secret + "é",
        "ä",
    )
    messages = set()
    for each in invalid_secrets:
        with pytest.raises(AuthenticationError) as exc_info:
            authenticate(harness, each)
        messages.add(str(exc_info.value))
    assert len(messages) == 1
    assert authenticate(harness, valid_token.secret) == valid_token.token


async def test_token_expires_at_given_time(harness: EngineHarness) -> None:
    issued = await issue(harness, seconds=3600)
    harness.clock.move_to(issued.token.expires_at)
    with pytest.raises(AuthenticationError):
        authenticate(harness, issued.secret)


async def test_failed_authentication_writes_nothing(harness: EngineHarness) -> None:
    expired_token = await issue(harness, seconds=60)
    harness.clock.advance(seconds=60)
    await harness.wait_until_durable()
    files = {each.name: each.read_bytes() for each in harness.paths.store.iterdir()}
    for secret in (expired_token.secret, "sy_0000000000_" + "0" * 64):
        with pytest.raises(AuthenticationError):
            authenticate(harness, secret)
    await harness.engine.repository.flush()
    assert {each.name: each.read_bytes() for each in harness.paths.store.iterdir()} == files


async def test_revoked_token_is_listed_and_stays_revoked(harness: EngineHarness) -> None:
    issued = await issue(harness)
    await revoke(harness, DEV, issued.token)
    (token,) = harness.engine.tokens.list_tokens(DEV)
    harness.clock.advance(hours=1)
    await revoke(harness, DEV, issued.token)
    assert token.revoked_at is not None
    assert harness.engine.tokens.list_tokens(DEV) == (token,)
    await harness.reopen()
    with pytest.raises(AuthenticationError):
        authenticate(harness, issued.secret)


async def test_tokens_of_others_require_permission(harness: EngineHarness) -> None:
    issued = await issue(harness, OWNER)
    with pytest.raises(PermissionDeniedError):
        await issue(harness, DEV, subject=OWNER)
    assert harness.engine.tokens.list_tokens(DEV) == ()
    with pytest.raises(NotFoundError) as hidden_error:
        await revoke(harness, DEV, issued.token)
    with pytest.raises(NotFoundError) as missing_error:
        await harness.execute(DEV, harness.engine.tokens.revoke(DEV, "0000000000"))
    assert hidden_error.value.message.replace(issued.token.id, "") == missing_error.value.message.replace(
        "0000000000", ""
    )
    assert authenticate(harness, issued.secret) == issued.token


async def test_administrator_manages_tokens_of_others(harness: EngineHarness) -> None:
    dev_token, owner_token = await issue(harness, DEV), await issue(harness, ADMIN, subject=OWNER, name="for the owner")
    harness.clock.advance(seconds=1)
    admin_token = await issue(harness, ADMIN)
    assert owner_token.token.created_by == ADMIN
    assert authenticate(harness, owner_token.secret).subject == OWNER
    tokens = harness.engine.tokens.list_tokens(ADMIN)
    assert {each.id for each in tokens} == {dev_token.token.id, owner_token.token.id, admin_token.token.id}
    assert tokens[0] == admin_token.token
    await revoke(harness, ADMIN, dev_token.token)
    with pytest.raises(AuthenticationError):
        authenticate(harness, dev_token.secret)


async def test_machine_client_gets_machine_tokens(harness: EngineHarness) -> None:
    assert (await issue(harness, ADMIN, subject=CLIENT)).token.is_machine
    assert (await issue(harness, CLIENT)).token.is_machine
    assert (await issue(harness, DEV, is_machine=True)).token.is_machine


@pytest.mark.parametrize("subject", ["USER:stranger", "CLIENT:stranger"])
async def test_unknown_subject_gets_no_token(harness: EngineHarness, subject: str) -> None:
    with pytest.raises(NotFoundError):
        await issue(harness, ADMIN, subject=subject)


@pytest.mark.parametrize("subject", [DEV, ADMIN])
@pytest.mark.parametrize("is_named", [False, True])
async def test_issuer_token_cannot_create_own_token(harness: EngineHarness, subject: str, is_named: bool) -> None:
    with pytest.raises(PermissionDeniedError, match="administrator"):
        await issue(
            harness,
            subject,
            create_presented_token(harness, 300, by_issuer=True),
            seconds=60,
            subject=subject if is_named else None,
        )
    assert harness.engine.tokens.list_tokens(subject) == ()
    assert [each.author for each in await harness.audit_entries(AuditAction.REFUSED)] == [subject]


async def test_administrator_issuer_token_creates_tokens_for_others(harness: EngineHarness) -> None:
    presented_token = create_presented_token(harness, 300, by_issuer=True)
    issued = await issue(harness, ADMIN, presented_token, subject=DEV, seconds=365 * DAY)
    assert issued.token.expires_at == harness.clock.now() + timedelta(days=365)


async def test_new_token_cannot_outlive_presented_token(harness: EngineHarness) -> None:
    presented_token = create_presented_token(harness, DAY)
    with pytest.raises(PermissionDeniedError, match=f"{presented_token.expires_at:%Y-%m-%d %H:%M:%S} UTC"):
        await issue(harness, DEV, presented_token, seconds=DAY + 1)
    assert harness.engine.tokens.list_tokens(DEV) == ()
    assert (await issue(harness, DEV, presented_token, seconds=DAY)).token.expires_at == presented_token.expires_at
    assert (await issue(harness, DEV, presented_token, seconds=3600)).token.expires_at < presented_token.expires_at


async def test_default_expiry_is_limited_by_presented_token(harness: EngineHarness) -> None:
    short_token, long_token = create_presented_token(harness, 30), create_presented_token(harness, 365 * DAY)
    assert (await issue(harness, DEV, short_token)).token.expires_at == short_token.expires_at
    assert (await issue(harness, DEV, long_token)).token.expires_at == harness.clock.now() + timedelta(days=90)


async def test_administrator_and_local_caller_have_no_limit(
    harness: EngineHarness,
) -> None:
    year = harness.clock.now() + timedelta(days=365)
    assert (
        await issue(harness, ADMIN, create_presented_token(harness, 60), seconds=365 * DAY)
    ).token.expires_at == year
    assert (await issue(harness, DEV, seconds=365 * DAY)).token.expires_at == year


async def test_group_gets_no_token(harness: EngineHarness) -> None:
    await harness.add_subject("GROUP:owners")
    with pytest.raises(UsageError, match="Groups"):
        await issue(harness, ADMIN, subject="GROUP:owners")


@pytest.mark.parametrize("request_", [{"seconds": 59}, {"seconds": 365 * DAY + 1}, {"name": " "}, {"name": "x" * 81}])
async def test_invalid_name_or_lifetime_is_rejected(harness: EngineHarness, request_: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        await issue(harness, **request_)
    assert harness.engine.tokens.list_tokens(DEV) == ()


async def test_creation_and_revocation_are_audited(harness: EngineHarness) -> None:
    issued = await issue(harness, ADMIN, subject=DEV)
    await revoke(harness, DEV, issued.token)
    creation, revocation = await harness.audit_entries(about=f"TOKEN:{issued.token.id}")
    assert (creation.author, creation.change) == (ADMIN, AuditAction.CREATED)
    assert creation.new_value is not None
    assert creation.new_value["subject"] == DEV
    assert (revocation.author, revocation.change) == (DEV, AuditAction.DELETED)


@pytest.mark.file_store
async def test_secret_is_never_stored_or_printed(harness: EngineHarness) -> None:
    issued = await issue(harness)
    random = issued.secret.rpartition("_")[2]
    assert len(random) * 4 == 256
    await harness.close()
    files = [each for each in harness.paths.root.rglob("*") if each.is_file()]
    assert any(issued.token.id.encode() in each.read_bytes() for each in files)
    assert not any(random.encode() in each.read_bytes() for each in files)
    assert random not in repr(issued)
    assert random not in redact(f"GET / with {issued.secret} failed")
