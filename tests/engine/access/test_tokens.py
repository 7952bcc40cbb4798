"""Access tokens: who may have them made, what they open, and that nothing of them can be read afterwards."""

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
    harness: EngineHarness, by: str = DEV, shown: PresentedToken | None = None, **request: Any
) -> IssuedToken:
    wanted = TokenRequest(**{"name": "laptop", **request})
    return await harness.execute(by, harness.engine.tokens.create(by, wanted, shown))


def ending(harness: EngineHarness, seconds: int, *, by_issuer: bool = False) -> PresentedToken:
    return PresentedToken(expires_at=harness.clock.now() + timedelta(seconds=seconds), external=by_issuer)


async def revoke(harness: EngineHarness, by: str, token: AccessToken) -> None:
    await harness.execute(by, harness.engine.tokens.revoke(by, token.id))


def opens(harness: EngineHarness, secret: str) -> AccessToken:
    return harness.engine.tokens.authenticate(secret)


async def test_a_token_says_who_one_is(harness: EngineHarness) -> None:
    issued = await issue(harness)
    token = opens(harness, issued.secret)
    assert token == issued.token
    assert (token.subject, token.created_by, token.is_machine) == (DEV, DEV, False)
    await harness.reopen()
    assert opens(harness, issued.secret) == token


async def test_of_two_tokens_each_opens_its_own(harness: EngineHarness) -> None:
    first, second = await issue(harness, DEV), await issue(harness, OWNER)
    assert opens(harness, first.secret).subject == DEV
    assert opens(harness, second.secret).subject == OWNER
    swapped = f"sy_{first.token.id}_{second.secret.rpartition('_')[2]}"
    with pytest.raises(AuthenticationError):
        opens(harness, swapped)


async def test_whatever_is_wrong_with_a_token_the_words_are_the_same(harness: EngineHarness) -> None:
    revoked, expired, good = await issue(harness), await issue(harness, seconds=60), await issue(harness)
    await revoke(harness, DEV, revoked.token)
    harness.clock.advance(seconds=60)
    other = good.secret[:-1] + ("0" if good.secret[-1] != "0" else "1")
    unknown = "sy_0000000000_" + "0" * 64
    wrong = (revoked.secret, expired.secret, other, unknown, "", "sy_", good.secret.upper(), good.secret + "é", "ä")
    said = set()
    for each in wrong:
        with pytest.raises(AuthenticationError) as refused:
            opens(harness, each)
        said.add(str(refused.value))
    assert len(said) == 1
    assert opens(harness, good.secret) == good.token


async def test_a_token_ends_in_the_moment_that_was_said(harness: EngineHarness) -> None:
    issued = await issue(harness, seconds=3600)
    harness.clock.move_to(issued.token.expires_at)
    with pytest.raises(AuthenticationError):
        opens(harness, issued.secret)


async def test_what_does_not_open_leaves_no_trace_in_the_store(harness: EngineHarness) -> None:
    expired = await issue(harness, seconds=60)
    harness.clock.advance(seconds=60)
    await harness.wait_until_durable()
    before = {each.name: each.read_bytes() for each in harness.paths.store.iterdir()}
    for secret in (expired.secret, "sy_0000000000_" + "0" * 64):
        with pytest.raises(AuthenticationError):
            opens(harness, secret)
    await harness.engine.repository.flush()
    assert {each.name: each.read_bytes() for each in harness.paths.store.iterdir()} == before


async def test_a_revoked_token_stays_so_and_is_listed(harness: EngineHarness) -> None:
    issued = await issue(harness)
    await revoke(harness, DEV, issued.token)
    (listed,) = harness.engine.tokens.list_tokens(DEV)
    harness.clock.advance(hours=1)
    await revoke(harness, DEV, issued.token)
    assert listed.revoked_at is not None
    assert harness.engine.tokens.list_tokens(DEV) == (listed,)
    await harness.reopen()
    with pytest.raises(AuthenticationError):
        opens(harness, issued.secret)


async def test_nobody_makes_sees_or_revokes_tokens_of_others_without_the_right(harness: EngineHarness) -> None:
    issued = await issue(harness, OWNER)
    with pytest.raises(PermissionDeniedError):
        await issue(harness, DEV, subject=OWNER)
    assert harness.engine.tokens.list_tokens(DEV) == ()
    with pytest.raises(NotFoundError) as hidden:
        await revoke(harness, DEV, issued.token)
    with pytest.raises(NotFoundError) as missing:
        await harness.execute(DEV, harness.engine.tokens.revoke(DEV, "0000000000"))
    assert hidden.value.message.replace(issued.token.id, "") == missing.value.message.replace("0000000000", "")
    assert opens(harness, issued.secret) == issued.token


async def test_who_may_add_subjects_does_all_of_it_for_anybody(harness: EngineHarness) -> None:
    own, others = await issue(harness, DEV), await issue(harness, ADMIN, subject=OWNER, name="for the owner")
    harness.clock.advance(seconds=1)
    newest = await issue(harness, ADMIN)
    assert others.token.created_by == ADMIN
    assert opens(harness, others.secret).subject == OWNER
    seen = harness.engine.tokens.list_tokens(ADMIN)
    assert {each.id for each in seen} == {own.token.id, others.token.id, newest.token.id}
    assert seen[0] == newest.token
    await revoke(harness, ADMIN, own.token)
    with pytest.raises(AuthenticationError):
        opens(harness, own.secret)


async def test_a_machine_client_has_machine_tokens_only(harness: EngineHarness) -> None:
    assert (await issue(harness, ADMIN, subject=CLIENT)).token.is_machine
    assert (await issue(harness, CLIENT)).token.is_machine
    assert (await issue(harness, DEV, is_machine=True)).token.is_machine


@pytest.mark.parametrize("subject", ["USER:stranger", "CLIENT:stranger"])
async def test_somebody_unknown_gets_no_token(harness: EngineHarness, subject: str) -> None:
    with pytest.raises(NotFoundError):
        await issue(harness, ADMIN, subject=subject)


@pytest.mark.parametrize("who", [DEV, ADMIN])
@pytest.mark.parametrize("named", [False, True])
async def test_who_comes_by_an_issuer_makes_no_token_for_themselves(
    harness: EngineHarness, who: str, named: bool
) -> None:
    with pytest.raises(PermissionDeniedError, match="administrator"):
        await issue(harness, who, ending(harness, 300, by_issuer=True), seconds=60, subject=who if named else None)
    assert harness.engine.tokens.list_tokens(who) == ()
    assert [each.author for each in await harness.audit_entries(AuditAction.REFUSED)] == [who]


async def test_an_administrator_who_comes_by_an_issuer_makes_tokens_for_others(harness: EngineHarness) -> None:
    shown = ending(harness, 300, by_issuer=True)
    issued = await issue(harness, ADMIN, shown, subject=DEV, seconds=365 * DAY)
    assert issued.token.expires_at == harness.clock.now() + timedelta(days=365)


async def test_a_token_makes_none_for_its_own_subject_that_outlives_it(harness: EngineHarness) -> None:
    shown = ending(harness, DAY)
    with pytest.raises(PermissionDeniedError, match=f"{shown.expires_at:%Y-%m-%d %H:%M:%S} UTC"):
        await issue(harness, DEV, shown, seconds=DAY + 1)
    assert harness.engine.tokens.list_tokens(DEV) == ()
    assert (await issue(harness, DEV, shown, seconds=DAY)).token.expires_at == shown.expires_at
    assert (await issue(harness, DEV, shown, seconds=3600)).token.expires_at < shown.expires_at


async def test_where_no_time_is_asked_for_a_token_ends_with_the_one_it_was_made_by(harness: EngineHarness) -> None:
    short, long = ending(harness, 30), ending(harness, 365 * DAY)
    assert (await issue(harness, DEV, short)).token.expires_at == short.expires_at
    assert (await issue(harness, DEV, long)).token.expires_at == harness.clock.now() + timedelta(days=90)


async def test_who_may_add_subjects_or_asks_at_the_workspace_itself_is_not_bound_by_a_token(
    harness: EngineHarness,
) -> None:
    year = harness.clock.now() + timedelta(days=365)
    assert (await issue(harness, ADMIN, ending(harness, 60), seconds=365 * DAY)).token.expires_at == year
    assert (await issue(harness, DEV, seconds=365 * DAY)).token.expires_at == year


async def test_a_group_gets_no_token(harness: EngineHarness) -> None:
    await harness.add_subject("GROUP:owners")
    with pytest.raises(UsageError, match="Groups"):
        await issue(harness, ADMIN, subject="GROUP:owners")


@pytest.mark.parametrize("request_", [{"seconds": 59}, {"seconds": 365 * DAY + 1}, {"name": " "}, {"name": "x" * 81}])
async def test_a_token_has_a_name_and_an_end_within_a_year(harness: EngineHarness, request_: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        await issue(harness, **request_)
    assert harness.engine.tokens.list_tokens(DEV) == ()


async def test_making_and_revoking_are_audited_without_the_secret(harness: EngineHarness) -> None:
    issued = await issue(harness, ADMIN, subject=DEV)
    await revoke(harness, DEV, issued.token)
    made, ended = await harness.audit_entries(about=f"TOKEN:{issued.token.id}")
    assert (made.author, made.change) == (ADMIN, AuditAction.CREATED)
    assert made.new_value is not None
    assert made.new_value["subject"] == DEV
    assert (ended.author, ended.change) == (DEV, AuditAction.DELETED)


async def test_the_secret_is_nowhere_on_the_disk_or_in_what_is_printed(harness: EngineHarness) -> None:
    issued = await issue(harness)
    random = issued.secret.rpartition("_")[2]
    assert len(random) * 4 == 256
    await harness.close()
    files = [each for each in harness.paths.root.rglob("*") if each.is_file()]
    assert any(issued.token.id.encode() in each.read_bytes() for each in files)
    assert not any(random.encode() in each.read_bytes() for each in files)
    assert random not in repr(issued)
    assert random not in redact(f"GET / with {issued.secret} failed")
