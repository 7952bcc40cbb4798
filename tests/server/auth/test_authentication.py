"""Tests of authentication by bearer token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from sealyard.model.credentials import TokenRequest
from tests.support.client_kinds import OffsetClock
from tests.support.server_harness import ADMIN, DEV, OWNER, SECOND, ServerHarness, run_server

pytestmark = pytest.mark.anyio

WORKSPACE_URL = "/api/v1/workspace"


@pytest.fixture(scope="module")
def clock() -> OffsetClock:
    return OffsetClock()


@pytest.fixture(scope="module")
async def harness(shared_folder: Path, clock: OffsetClock) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": shared_folder}, clock=clock) as harness:
        yield harness


def is_unauthenticated(response: httpx.Response) -> bool:
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    return (response.status_code, response.json()["code"]) == (401, "unauthenticated")


async def test_bearer_token_identifies_subject(harness: ServerHarness) -> None:
    for subject in (DEV, OWNER):
        response = await (await harness.http_client(subject)).get(WORKSPACE_URL, headers={"X-SE-SUBJECT": ADMIN})
        assert response.json()["subject"] == subject
        assert "authenticated" in response.json()["trustNote"]


async def test_bearer_scheme_is_case_insensitive(harness: ServerHarness) -> None:
    token = await harness.token(DEV)
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert (
            await harness.anonymous_client({"Authorization": f"{scheme}  {token}"}).get(WORKSPACE_URL)
        ).status_code == 200


async def test_invalid_credentials_are_rejected(harness: ServerHarness) -> None:
    token = await harness.token(DEV)
    prefix, _, secret = token.rpartition("_")
    for authorization in (
        *("", "Bearer", token, f"Basic {token}", f"Token {token}", f"Bearer {token}x", f"Bearer x{token}"),
        *(
            f"Bearer {prefix}",
            f"Bearer {prefix}_",
            f"Bearer {secret}",
            "Bearer sy_",
            "Bearer null",
            f"Bearer {token} x",
        ),
    ):
        assert is_unauthenticated(
            await harness.anonymous_client({"Authorization": authorization}).get(WORKSPACE_URL)
        ), authorization
    assert is_unauthenticated(await harness.anonymous_client().get(WORKSPACE_URL))
    for query in (f"?token={token}", f"?access_token={token}"):
        assert is_unauthenticated(
            await harness.anonymous_client({"Cookie": f"token={token}"}).get(WORKSPACE_URL + query)
        )


async def test_expired_or_revoked_token_is_rejected(harness: ServerHarness, clock: OffsetClock) -> None:
    dev = harness.engine.client(DEV)
    short = await dev.create_token(TokenRequest(name="short", seconds=3600))
    long = await dev.create_token(TokenRequest(name="long", seconds=86400))
    issued = {"short": short, "long": long}
    http = {name: harness.anonymous_client({"Authorization": f"Bearer {each.secret}"}) for name, each in issued.items()}
    assert (await http["short"].get(WORKSPACE_URL)).status_code == 200
    clock.added = timedelta(hours=1)
    assert is_unauthenticated(await http["short"].get(WORKSPACE_URL))
    assert (await http["long"].get(WORKSPACE_URL)).status_code == 200
    await dev.revoke_token(long.token.id)
    assert is_unauthenticated(await http["long"].get(WORKSPACE_URL))


async def test_created_token_cannot_outlive_its_creator(harness: ServerHarness) -> None:
    short = await harness.engine.client(SECOND).create_token(TokenRequest(name="short", seconds=3600))
    http = harness.anonymous_client({"Authorization": f"Bearer {short.secret}"})
    longer = await http.post("/api/v1/token", json={"name": "longer", "seconds": 7200})
    assert (longer.status_code, longer.json()["code"]) == (403, "not-allowed")
    assert f"{short.token.expires_at:%Y-%m-%d %H:%M:%S}" in longer.json()["detail"]
    default = await http.post("/api/v1/token", json={"name": "usual"})
    assert default.status_code == 201
    assert {each.expires_at for each in await harness.engine.client(SECOND).tokens()} == {short.token.expires_at}


async def test_administrator_token_may_create_longer_token(harness: ServerHarness) -> None:
    short = await harness.engine.client(ADMIN).create_token(TokenRequest(name="short", seconds=3600))
    http = harness.anonymous_client({"Authorization": f"Bearer {short.secret}"})
    for subject in (ADMIN, DEV):
        body = {"name": "longer", "subject": subject, "seconds": 7200}
        assert (await http.post("/api/v1/token", json=body)).status_code == 201


async def test_unauthenticated_body_is_not_read(harness: ServerHarness) -> None:
    for method, path in (("PUT", "/api/v1/upload/0123456789abcdef"), ("POST", "/api/v1/packagingTask")):
        response = await harness.anonymous_client({"Content-Type": "nonsense"}).request(
            method, path, content=bytes(1 << 16)
        )
        assert is_unauthenticated(response)
