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
    house: EngineHarness, by: str = DEV, shown: PresentedToken | None = None, **request: Any
) -> IssuedToken:
    wanted = TokenRequest(**{"name": "laptop", **request})
    return await house.execute(by, house.engine.tokens.create(by, wanted, shown))


def ending(house: EngineHarness, seconds: int, *, by_issuer: bool = False) -> PresentedToken:
    return PresentedToken(expires_at=house.clock.now() + timedelta(seconds=seconds), external=by_issuer)


async def revoke(house: EngineHarness, by: str, token: AccessToken) -> None:
    await house.execute(by, house.engine.tokens.revoke(by, token.id))


def opens(house: EngineHarness, secret: str) -> AccessToken:
    return house.engine.tokens.authenticate(secret)


async def test_a_token_says_who_one_is(house: EngineHarness) -> None:
    issued = await issue(house)
    token = opens(house, issued.secret)
    assert token == issued.token
    assert (token.subject, token.created_by, token.is_machine) == (DEV, DEV, False)
    await house.reopen()
    assert opens(house, issued.secret) == token


async def test_of_two_tokens_each_opens_its_own(house: EngineHarness) -> None:
    first, second = await issue(house, DEV), await issue(house, OWNER)
    assert opens(house, first.secret).subject == DEV
    assert opens(house, second.secret).subject == OWNER
    swapped = f"sy_{first.token.id}_{second.secret.rpartition('_')[2]}"
    with pytest.raises(AuthenticationError):
        opens(house, swapped)


async def test_whatever_is_wrong_with_a_token_the_words_are_the_same(house: EngineHarness) -> None:
    revoked, expired, good = await issue(house), await issue(house, seconds=60), await issue(house)
    await revoke(house, DEV, revoked.token)
    house.clock.advance(seconds=60)
    other = good.secret[:-1] + ("0" if good.secret[-1] != "0" else "1")
    unknown = "sy_0000000000_" + "0" * 64
    wrong = (revoked.secret, expired.secret, other, unknown, "", "sy_", good.secret.upper(), good.secret + "é", "ä")
    said = set()
    for each in wrong:
        with pytest.raises(AuthenticationError) as refused:
            opens(house, each)
        said.add(str(refused.value))
    assert len(said) == 1
    assert opens(house, good.secret) == good.token


async def test_a_token_ends_in_the_moment_that_was_said(house: EngineHarness) -> None:
    issued = await issue(house, seconds=3600)
    house.clock.move_to(issued.token.expires_at)
    with pytest.raises(AuthenticationError):
        opens(house, issued.secret)


async def test_what_does_not_open_leaves_no_trace_in_the_store(house: EngineHarness) -> None:
    expired = await issue(house, seconds=60)
    house.clock.advance(seconds=60)
    await house.wait_until_durable()
    before = {each.name: each.read_bytes() for each in house.paths.store.iterdir()}
    for secret in (expired.secret, "sy_0000000000_" + "0" * 64):
        with pytest.raises(AuthenticationError):
            opens(house, secret)
    await house.engine.repository.flush()
    assert {each.name: each.read_bytes() for each in house.paths.store.iterdir()} == before


async def test_a_revoked_token_stays_so_and_is_listed(house: EngineHarness) -> None:
    issued = await issue(house)
    await revoke(house, DEV, issued.token)
    (listed,) = house.engine.tokens.list_tokens(DEV)
    house.clock.advance(hours=1)
    await revoke(house, DEV, issued.token)
    assert listed.revoked_at is not None
    assert house.engine.tokens.list_tokens(DEV) == (listed,)
    await house.reopen()
    with pytest.raises(AuthenticationError):
        opens(house, issued.secret)


async def test_nobody_makes_sees_or_revokes_tokens_of_others_without_the_right(house: EngineHarness) -> None:
    issued = await issue(house, OWNER)
    with pytest.raises(PermissionDeniedError):
        await issue(house, DEV, subject=OWNER)
    assert house.engine.tokens.list_tokens(DEV) == ()
    with pytest.raises(NotFoundError) as hidden:
        await revoke(house, DEV, issued.token)
    with pytest.raises(NotFoundError) as missing:
        await house.execute(DEV, house.engine.tokens.revoke(DEV, "0000000000"))
    assert hidden.value.message.replace(issued.token.id, "") == missing.value.message.replace("0000000000", "")
    assert opens(house, issued.secret) == issued.token


async def test_who_may_add_subjects_does_all_of_it_for_anybody(house: EngineHarness) -> None:
    own, others = await issue(house, DEV), await issue(house, ADMIN, subject=OWNER, name="for the owner")
    house.clock.advance(seconds=1)
    newest = await issue(house, ADMIN)
    assert others.token.created_by == ADMIN
    assert opens(house, others.secret).subject == OWNER
    seen = house.engine.tokens.list_tokens(ADMIN)
    assert {each.id for each in seen} == {own.token.id, others.token.id, newest.token.id}
    assert seen[0] == newest.token
    await revoke(house, ADMIN, own.token)
    with pytest.raises(AuthenticationError):
        opens(house, own.secret)


async def test_a_machine_client_has_machine_tokens_only(house: EngineHarness) -> None:
    assert (await issue(house, ADMIN, subject=CLIENT)).token.is_machine
    assert (await issue(house, CLIENT)).token.is_machine
    assert (await issue(house, DEV, is_machine=True)).token.is_machine


@pytest.mark.parametrize("subject", ["USER:stranger", "CLIENT:stranger"])
async def test_somebody_unknown_gets_no_token(house: EngineHarness, subject: str) -> None:
    with pytest.raises(NotFoundError):
        await issue(house, ADMIN, subject=subject)


@pytest.mark.parametrize("who", [DEV, ADMIN])
@pytest.mark.parametrize("named", [False, True])
async def test_who_comes_by_an_issuer_makes_no_token_for_themselves(
    house: EngineHarness, who: str, named: bool
) -> None:
    with pytest.raises(PermissionDeniedError, match="administrator"):
        await issue(house, who, ending(house, 300, by_issuer=True), seconds=60, subject=who if named else None)
    assert house.engine.tokens.list_tokens(who) == ()
    assert [each.author for each in await house.audit_entries(AuditAction.REFUSED)] == [who]


async def test_an_administrator_who_comes_by_an_issuer_makes_tokens_for_others(house: EngineHarness) -> None:
    shown = ending(house, 300, by_issuer=True)
    issued = await issue(house, ADMIN, shown, subject=DEV, seconds=365 * DAY)
    assert issued.token.expires_at == house.clock.now() + timedelta(days=365)


async def test_a_token_makes_none_for_its_own_subject_that_outlives_it(house: EngineHarness) -> None:
    shown = ending(house, DAY)
    with pytest.raises(PermissionDeniedError, match=f"{shown.expires_at:%Y-%m-%d %H:%M:%S} UTC"):
        await issue(house, DEV, shown, seconds=DAY + 1)
    assert house.engine.tokens.list_tokens(DEV) == ()
    assert (await issue(house, DEV, shown, seconds=DAY)).token.expires_at == shown.expires_at
    assert (await issue(house, DEV, shown, seconds=3600)).token.expires_at < shown.expires_at


async def test_where_no_time_is_asked_for_a_token_ends_with_the_one_it_was_made_by(house: EngineHarness) -> None:
    short, long = ending(house, 30), ending(house, 365 * DAY)
    assert (await issue(house, DEV, short)).token.expires_at == short.expires_at
    assert (await issue(house, DEV, long)).token.expires_at == house.clock.now() + timedelta(days=90)


async def test_who_may_add_subjects_or_asks_at_the_workspace_itself_is_not_bound_by_a_token(
    house: EngineHarness,
) -> None:
    year = house.clock.now() + timedelta(days=365)
    assert (await issue(house, ADMIN, ending(house, 60), seconds=365 * DAY)).token.expires_at == year
    assert (await issue(house, DEV, seconds=365 * DAY)).token.expires_at == year


async def test_a_group_gets_no_token(house: EngineHarness) -> None:
    await house.add_subject("GROUP:owners")
    with pytest.raises(UsageError, match="Groups"):
        await issue(house, ADMIN, subject="GROUP:owners")


@pytest.mark.parametrize("request_", [{"seconds": 59}, {"seconds": 365 * DAY + 1}, {"name": " "}, {"name": "x" * 81}])
async def test_a_token_has_a_name_and_an_end_within_a_year(house: EngineHarness, request_: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        await issue(house, **request_)
    assert house.engine.tokens.list_tokens(DEV) == ()


async def test_making_and_revoking_are_audited_without_the_secret(house: EngineHarness) -> None:
    issued = await issue(house, ADMIN, subject=DEV)
    await revoke(house, DEV, issued.token)
    made, ended = await house.audit_entries(about=f"TOKEN:{issued.token.id}")
    assert (made.author, made.change) == (ADMIN, AuditAction.CREATED)
    assert made.new_value is not None
    assert made.new_value["subject"] == DEV
    assert (ended.author, ended.change) == (DEV, AuditAction.DELETED)


async def test_the_secret_is_nowhere_on_the_disk_or_in_what_is_printed(house: EngineHarness) -> None:
    issued = await issue(house)
    random = issued.secret.rpartition("_")[2]
    assert len(random) * 4 == 256
    await house.close()
    files = [each for each in house.paths.root.rglob("*") if each.is_file()]
    assert any(issued.token.id.encode() in each.read_bytes() for each in files)
    assert not any(random.encode() in each.read_bytes() for each in files)
    assert random not in repr(issued)
    assert random not in redact(f"GET / with {issued.secret} failed")
