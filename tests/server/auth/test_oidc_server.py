"""Test OIDC sign-in against a running server: authentication, roles and token creation."""

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


class TenantClient:
    """The only tenant of a server that trusts the issuer."""

    def __init__(self, server: Server, issuer: OidcIssuer, http: httpx.AsyncClient) -> None:
        ((_, host),) = server.tenants
        self.admin: EmbeddedClient = host.client(ADMIN)
        self._issuer = issuer
        self._http = http

    async def request(self, path: str, body: Any = None, *, tenant: str | None = None, **claims: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._issuer.token(**claims)}"}
        if tenant is not None:
            headers["X-SE-TENANT"] = tenant
        method = "GET" if body is None else "POST"
        return await self._http.request(method, f"/api/v1/{path}", headers=headers, json=body)


@asynccontextmanager
async def run_tenant(folder: Path, issuer: OidcIssuer, **settings: Any) -> AsyncIterator[TenantClient]:
    oidc = OidcSettings(issuer=issuer.url, audience=AUDIENCE)
    server_settings = ServerSettings(listen="127.0.0.1:0", oidc=oidc, **settings)
    server = await Server.open(server_settings, {"acme": await open_workspace(folder)})
    try:
        async with httpx.AsyncClient(base_url=server.address) as http:
            yield TenantClient(server, issuer, http)
    finally:
        await server.stop()


@pytest.fixture
async def acme(folder: Path, issuer: OidcIssuer) -> AsyncIterator[TenantClient]:
    """The tenant, with a group `devs` that may use the gateway."""
    async with run_tenant(folder, issuer) as acme:
        await acme.admin.add_subject("GROUP:devs")
        await acme.admin.add_rule("GROUP:devs", f"DEVICE_CONFIG:{GATEWAY}", Action.USE)
        yield acme


async def test_issuer_token_roles_determine_access(acme: TenantClient, issuer: OidcIssuer) -> None:
    with_role = await acme.request("deviceConfig", roles=["devs"])
    without_role = await acme.request("deviceConfig", roles=[])
    wrong_audience = await acme.request("deviceConfig", aud="elsewhere")
    audit = await acme.admin.audit(AuditFilter(author=OIDC_AUTHOR))
    assert (with_role.status_code, [each["name"] for each in with_role.json()]) == (200, [GATEWAY])
    assert (without_role.status_code, without_role.json()) == (200, [])
    assert (wrong_audience.status_code, wrong_audience.json()["code"]) == (401, "unauthenticated")
    assert [each.message for each in audit.entries] == [
        "USER:anna removed from GROUP:devs",
        "USER:anna added to GROUP:devs",
        f"USER:anna linked to 5d0c6a0e of {issuer.url}",
        "USER:anna added",
    ]


async def test_unknown_tenant_and_stranger_get_same_response(acme: TenantClient) -> None:
    await acme.request("workspace")
    strangers = ({"sub": "b1", "preferred_username": "berta", "roles": ["other"]}, {"sub": "b1"})
    responses = {
        (response.status_code, response.text)
        for claims in strangers
        for tenant in ("acme", "nowhere")
        for _ in range(2)
        if (response := await acme.request("workspace", tenant=tenant, **claims))
    }
    assert {status for status, _ in responses} == {401}
    assert len(responses) == 1
    refused = await acme.admin.audit(AuditFilter(change=AuditAction.REFUSED))
    assert [(each.author, each.resource) for each in refused.entries] == [
        (OIDC_AUTHOR, "SUBJECT:USER:anna"),
        ("USER:berta", "SUBJECT:USER:berta"),
    ]


async def test_rate_limit_does_not_reveal_tenants(folder: Path, issuer: OidcIssuer) -> None:
    async with run_tenant(folder, issuer, requests_per_minute=1) as acme:
        statuses = {
            tenant: [
                (await acme.request("workspace", tenant=tenant, sub=f"for {tenant}")).status_code for _ in range(2)
            ]
            for tenant in ("acme", "nowhere")
        }
    assert statuses == {"acme": [401, 429], "nowhere": [401, 429]}


async def test_renamed_account_is_rejected_until_unlinked(acme: TenantClient) -> None:
    assert (await acme.request("workspace")).status_code == 200
    refused = await acme.request("workspace", preferred_username="Anna")
    assert (refused.status_code, refused.json()["code"]) == (403, "not-allowed")
    assert (refused.json()["hintCode"], refused.json()["hintArgs"]) == ("unlink-account", {"subject": "USER:anna"})
    assert "DELETE /api/v1/acl/subjects/USER:anna/account" in refused.json()["apiHint"]
    await acme.admin.unlink_subject("USER:anna")
    assert (await acme.request("workspace", preferred_username="Anna")).json()["subject"] == "USER:Anna"
    assert (await acme.request("workspace")).status_code == 403


async def test_issuer_account_cannot_create_own_token(acme: TenantClient) -> None:
    for body in ({"name": "mine"}, {"name": "mine", "seconds": 60}, {"name": "mine", "subject": "USER:anna"}):
        refused = await acme.request("token", body)
        assert (refused.status_code, refused.json()["code"]) == (403, "not-allowed")
        assert "administrator" in refused.json()["hint"]
    assert await acme.admin.tokens() == ()


async def test_issuer_administrator_creates_tokens_for_others_only(acme: TenantClient) -> None:
    await acme.admin.add_rule("GROUP:devs", "RESOURCE_TYPE:SUBJECT", Action.CREATE)
    assert (await acme.request("token", {"name": "theirs", "subject": DEV})).status_code == 201
    assert (await acme.request("token", {"name": "mine"})).status_code == 403
