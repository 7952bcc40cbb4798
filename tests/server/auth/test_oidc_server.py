"""People come with their issuer's tokens to a real server, and may do there what their roles let them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealyard.client.embedded import EmbeddedClient
from sealyard.engine.access.role_sync import OIDC_AUTHOR
from sealyard.model.access import Action
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.server.server import Server
from sealyard.server.settings import OidcSettings, ServerSettings
from tests.support.oidc_issuer import AUDIENCE, OidcIssuer, run_issuer
from tests.support.server_harness import ADMIN, DEV, GATEWAY, open_workspace

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def issuer() -> Iterator[OidcIssuer]:
    with run_issuer() as issuer:
        yield issuer


class Served:
    """The only tenant of a service that believes the issuer."""

    def __init__(self, service: Server, issuer: OidcIssuer, calls: httpx.AsyncClient) -> None:
        ((_, host),) = service.tenants
        self.admin: EmbeddedClient = host.client(ADMIN)
        self._issuer = issuer
        self._calls = calls

    async def asked(self, path: str, body: Any = None, *, tenant: str | None = None, **claims: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._issuer.token(**claims)}"}
        if tenant is not None:
            headers["X-SE-TENANT"] = tenant
        method = "GET" if body is None else "POST"
        return await self._calls.request(method, f"/api/v1/{path}", headers=headers, json=body)


@asynccontextmanager
async def served(folder: Path, issuer: OidcIssuer, *, issuer_url: str = "", **more: Any) -> AsyncIterator[Served]:
    oidc = OidcSettings(issuer=issuer_url or issuer.url, audience=AUDIENCE)
    settings = ServerSettings(listen="127.0.0.1:0", oidc=oidc, **more)
    service = await Server.open(settings, {"acme": await open_workspace(folder)})
    try:
        async with httpx.AsyncClient(base_url=service.address, trust_env=False) as calls:
            yield Served(service, issuer, calls)
    finally:
        await service.stop()


@pytest.fixture
async def acme(folder: Path, issuer: OidcIssuer) -> AsyncIterator[Served]:
    """With a group devs, that may use the gateway."""
    async with served(folder, issuer) as acme:
        await acme.admin.add_subject("GROUP:devs")
        await acme.admin.add_rule("GROUP:devs", f"DEVICE_CONFIG:{GATEWAY}", Action.USE)
        yield acme


async def test_a_token_of_the_issuer_opens_what_its_roles_open_and_no_more(acme: Served, issuer: OidcIssuer) -> None:
    known = await acme.asked("deviceConfig", roles=["devs"])
    without = await acme.asked("deviceConfig", roles=[])
    elsewhere = await acme.asked("deviceConfig", aud="elsewhere")
    audit = await acme.admin.audit(AuditFilter(author=OIDC_AUTHOR))
    assert (known.status_code, [each["name"] for each in known.json()]) == (200, [GATEWAY])
    assert (without.status_code, without.json()) == (200, [])
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (401, "unauthenticated")
    assert [each.message for each in audit.entries] == [
        "USER:anna removed from GROUP:devs",
        "USER:anna added to GROUP:devs",
        f"USER:anna linked to 5d0c6a0e of {issuer.url}",
        "USER:anna added",
    ]


async def test_whether_a_tenant_is_there_is_learned_by_nobody_whom_it_does_not_know(acme: Served) -> None:
    await acme.asked("workspace")
    strangers = ({"sub": "b1", "preferred_username": "berta", "roles": ["other"]}, {"sub": "b1"})
    said = {
        (answer.status_code, answer.text)
        for claims in strangers
        for tenant in ("acme", "nowhere")
        for _ in range(2)
        if (answer := await acme.asked("workspace", tenant=tenant, **claims))
    }
    assert {status for status, _ in said} == {401}
    assert len(said) == 1
    refused = await acme.admin.audit(AuditFilter(change=AuditAction.REFUSED))
    assert [(each.author, each.resource) for each in refused.entries] == [
        (OIDC_AUTHOR, "SUBJECT:USER:anna"),
        ("USER:berta", "SUBJECT:USER:berta"),
    ]


async def test_how_often_one_may_ask_tells_of_no_tenant(folder: Path, issuer: OidcIssuer) -> None:
    async with served(folder, issuer, requests_per_minute=1) as acme:
        statuses = {
            tenant: [(await acme.asked("workspace", tenant=tenant, sub=f"for {tenant}")).status_code for _ in range(2)]
            for tenant in ("acme", "nowhere")
        }
    assert statuses == {"acme": [401, 429], "nowhere": [401, 429]}


async def test_a_person_whose_name_changed_is_told_what_to_do_until_it_is_done(acme: Served) -> None:
    assert (await acme.asked("workspace")).status_code == 200
    refused = await acme.asked("workspace", preferred_username="Anna")
    assert (refused.status_code, refused.json()["code"]) == (403, "not-allowed")
    assert "sealyard subject unlink USER:anna" in refused.json()["hint"]
    await acme.admin.unlink_subject("USER:anna")
    assert (await acme.asked("workspace", preferred_username="Anna")).json()["subject"] == "USER:Anna"
    assert (await acme.asked("workspace")).status_code == 403


async def test_who_comes_by_the_issuer_gets_no_token_that_outlives_its_word(acme: Served) -> None:
    for body in ({"name": "mine"}, {"name": "mine", "seconds": 60}, {"name": "mine", "subject": "USER:anna"}):
        refused = await acme.asked("token", body)
        assert (refused.status_code, refused.json()["code"]) == (403, "not-allowed")
        assert "administrator" in refused.json()["hint"]
    assert await acme.admin.tokens() == ()


async def test_an_administrator_who_comes_by_the_issuer_makes_tokens_for_others_only(acme: Served) -> None:
    await acme.admin.add_rule("GROUP:devs", "RESOURCE_TYPE:SUBJECT", Action.CREATE)
    assert (await acme.asked("token", {"name": "theirs", "subject": DEV})).status_code == 201
    assert (await acme.asked("token", {"name": "mine"})).status_code == 403


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks://127.0.0.1:1", "ftp://x", "http://127.0.0.1:99999"])
async def test_issuer_behind_unusable_proxy_answers_503(
    folder: Path, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "fe80::/10,[::1]")
    async with served(folder, issuer, issuer_url="https://issuer.example") as acme:
        response = await acme.asked("deviceConfig", iss="https://issuer.example")
    assert (response.status_code, response.json()["code"]) == (503, "connection")
    assert "issuer is unreachable" in response.json()["detail"]
