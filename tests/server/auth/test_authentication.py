"""Who asks: only the bearer of a token that is good now, of this tenant, whatever else is said."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from sealyard.model.credentials import TokenRequest
from tests.support.client_kinds import OffsetClock
from tests.support.server_harness import ADMIN, DEV, OWNER, ServerHarness, run_server

pytestmark = pytest.mark.anyio

HERE = "/api/v1/workspace"


@pytest.fixture
def clock() -> OffsetClock:
    return OffsetClock()


@pytest.fixture
async def yard(folder: Path, clock: OffsetClock) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": folder}, clock=clock) as yard:
        yield yard


def refused(answer: httpx.Response) -> bool:
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    return (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_token_says_who_one_is(yard: ServerHarness) -> None:
    for subject in (DEV, OWNER):
        answer = await (await yard.http_client(subject)).get(HERE, headers={"X-SE-SUBJECT": ADMIN})
        assert answer.json()["subject"] == subject
        assert "authenticated" in answer.json()["trustNote"]


async def test_the_word_bearer_is_read_however_it_is_written(yard: ServerHarness) -> None:
    token = await yard.token(DEV)
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert (await yard.anonymous_client({"Authorization": f"{scheme}  {token}"}).get(HERE)).status_code == 200


async def test_whatever_is_no_good_token_is_refused(yard: ServerHarness) -> None:
    token = await yard.token(DEV)
    head, _, secret = token.rpartition("_")
    for said in (
        *("", "Bearer", token, f"Basic {token}", f"Token {token}", f"Bearer {token}x", f"Bearer x{token}"),
        *(f"Bearer {head}", f"Bearer {head}_", f"Bearer {secret}", "Bearer sy_", "Bearer null", f"Bearer {token} x"),
    ):
        assert refused(await yard.anonymous_client({"Authorization": said}).get(HERE)), said
    assert refused(await yard.anonymous_client().get(HERE))
    for elsewhere in (f"?token={token}", f"?access_token={token}"):
        assert refused(await yard.anonymous_client({"Cookie": f"token={token}"}).get(HERE + elsewhere))


async def test_a_token_that_ended_or_was_revoked_is_refused_from_then_on(
    yard: ServerHarness, clock: OffsetClock
) -> None:
    dev = yard.engine.client(DEV)
    short = await dev.create_token(TokenRequest(name="short", seconds=3600))
    long = await dev.create_token(TokenRequest(name="long", seconds=86400))
    issued = {"short": short, "long": long}
    calls = {name: yard.anonymous_client({"Authorization": f"Bearer {each.secret}"}) for name, each in issued.items()}
    assert (await calls["short"].get(HERE)).status_code == 200
    clock.added = timedelta(hours=1)
    assert refused(await calls["short"].get(HERE))
    assert (await calls["long"].get(HERE)).status_code == 200
    await dev.revoke_token(long.token.id)
    assert refused(await calls["long"].get(HERE))


async def test_a_token_makes_none_of_its_own_that_outlives_it(yard: ServerHarness) -> None:
    short = await yard.engine.client(DEV).create_token(TokenRequest(name="short", seconds=3600))
    calls = yard.anonymous_client({"Authorization": f"Bearer {short.secret}"})
    longer = await calls.post("/api/v1/token", json={"name": "longer", "seconds": 7200})
    assert (longer.status_code, longer.json()["code"]) == (403, "not-allowed")
    assert f"{short.token.expires_at:%Y-%m-%d %H:%M:%S}" in longer.json()["detail"]
    usual = await calls.post("/api/v1/token", json={"name": "usual"})
    assert usual.status_code == 201
    assert {each.expires_at for each in await yard.engine.client(DEV).tokens()} == {short.token.expires_at}


async def test_an_administrators_token_makes_any(yard: ServerHarness) -> None:
    short = await yard.engine.client(ADMIN).create_token(TokenRequest(name="short", seconds=3600))
    calls = yard.anonymous_client({"Authorization": f"Bearer {short.secret}"})
    for subject in (ADMIN, DEV):
        body = {"name": "longer", "subject": subject, "seconds": 7200}
        assert (await calls.post("/api/v1/token", json=body)).status_code == 201


async def test_nothing_of_a_request_is_read_before_it_is_known_who_asks(yard: ServerHarness) -> None:
    for method, path in (("PUT", "/api/v1/upload/0123456789abcdef"), ("POST", "/api/v1/packagingTask")):
        nobody = await yard.anonymous_client({"Content-Type": "nonsense"}).request(method, path, content=bytes(1 << 16))
        assert refused(nobody)
