"""Test OIDC sign-in against a running server: authentication, roles and token creation."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealyard.client.embedded import EmbeddedClient
from sealyard.model.access import OIDC_AUTHOR, Action, SubjectState
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import UsageError
from sealyard.server.auth import jwks
from sealyard.server.server import Server
from sealyard.server.settings import OidcSettings, ServerSettings, load_server_settings
from tests.support.limits import TIMEOUT
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
        self.http = http
        self._issuer = issuer

    async def request(self, path: str, body: Any = None, *, tenant: str | None = None, **claims: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self._issuer.token(**claims)}"}
        if tenant is not None:
            headers["X-SE-TENANT"] = tenant
        method = "GET" if body is None else "POST"
        return await self.http.request(method, f"/api/v1/{path}", headers=headers, json=body)


@asynccontextmanager
async def run_tenant(
    folder: Path,
    issuer: OidcIssuer,
    oidc: OidcSettings | tuple[OidcSettings, ...] | None = None,
    *,
    issuer_url: str = "",
    **settings: Any,
) -> AsyncIterator[TenantClient]:
    oidc = oidc or OidcSettings(issuer=issuer_url or issuer.url, audience=AUDIENCE)
    server_settings = ServerSettings(listen="127.0.0.1:0", oidc=oidc, **settings)
    server = await Server.open(server_settings, {"acme": await open_workspace(folder)})
    try:
        async with httpx.AsyncClient(base_url=server.address, trust_env=False, timeout=TIMEOUT) as http:
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


async def test_disabled_and_removed_subjects_are_rejected(acme: TenantClient) -> None:
    assert (await acme.request("workspace", roles=["devs"])).status_code == 200
    for state in (SubjectState.DISABLED, SubjectState.REMOVED):
        await acme.admin.set_subject_state("USER:anna", state, "left the company", confirmed=True)
        refused = await acme.request("workspace", roles=["devs"])
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        assert (await acme.request("workspace", roles=["devs"], preferred_username="anna2")).status_code == 403
        await acme.admin.set_subject_state("USER:anna", SubjectState.ACTIVE)
        assert (await acme.request("workspace", roles=["devs"])).status_code == 200


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


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks://127.0.0.1:1", "ftp://x", "http://127.0.0.1:99999"])
async def test_issuer_behind_unusable_proxy_answers_503(
    folder: Path, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    monkeypatch.setenv("NO_PROXY", "fe80::/10,[::1]")
    async with run_tenant(folder, issuer, issuer_url="https://issuer.example") as acme:
        response = await acme.request("deviceConfig", iss="https://issuer.example")
    assert (response.status_code, response.json()["code"]) == (503, "issuer-unreachable")
    assert "issuer is unreachable" in response.json()["detail"]


# ---- unreachable issuers


async def test_server_started_before_issuer_answers_503_and_recovers(
    folder: Path, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "RETRY_INTERVAL", timedelta(0))
    issuer.configure(begin=True, status=500)
    async with run_tenant(folder, issuer) as acme:
        await acme.admin.add_subject("GROUP:devs")
        for _ in range(2):
            unavailable = await acme.request("workspace")
            assert (unavailable.status_code, unavailable.json()["code"]) == (503, "issuer-unreachable")
            assert unavailable.headers["Retry-After"] == "2"
            assert unavailable.json()["retryAfter"] == 2
            assert "WWW-Authenticate" not in unavailable.headers
        issuer.configure(status=200)
        assert (await acme.request("workspace")).status_code == 200


async def test_unreachable_issuer_makes_server_unready(
    folder: Path, issuer: OidcIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "RETRY_INTERVAL", timedelta(0))
    issuer.configure(begin=True, status=500)
    async with run_tenant(folder, issuer) as acme:
        response = await acme.http.get("/readyz")
        assert response.status_code == 503
        assert {"name": "oidc-issuer", "passed": 0, "failed": 1, "warnings": 0} in response.json()["checks"]
        assert issuer.url not in response.text
        issuer.configure(status=200)
        response = await acme.http.get("/readyz")
        assert response.status_code == 200
        assert {"name": "oidc-issuer", "passed": 1, "failed": 0, "warnings": 0} in response.json()["checks"]


# ---- several issuers


async def test_two_issuers_sign_in_different_subjects(folder: Path, issuer: OidcIssuer) -> None:
    issuer.configure(begin=True)
    with run_issuer() as partner:
        oidc = (
            OidcSettings(issuer=issuer.url, audience=AUDIENCE),
            OidcSettings(issuer=partner.url, audience=AUDIENCE, subject_prefix="partner."),
        )
        async with run_tenant(folder, issuer, oidc) as acme:
            await acme.admin.add_subject("GROUP:devs")
            own = await acme.request("workspace")
            headers = {"Authorization": f"Bearer {partner.token()}"}
            other = await acme.http.get("/api/v1/workspace", headers=headers)
            stolen = await acme.request("workspace", preferred_username="partner.anna", sub="b1")
            forged = await acme.http.get(
                "/api/v1/workspace", headers={"Authorization": f"Bearer {partner.token(iss=issuer.url)}"}
            )
    assert (own.json()["subject"], other.json()["subject"]) == ("USER:anna", "USER:partner.anna")
    assert (stolen.status_code, forged.status_code) == (401, 401)


async def test_issuer_is_limited_to_its_tenants(folder: Path, issuer: OidcIssuer, tmp_path: Path) -> None:
    issuer.configure(begin=True)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    oidc = (OidcSettings(issuer=issuer.url, audience=AUDIENCE, tenants="brix"),)
    server_settings = ServerSettings(listen="127.0.0.1:0", oidc=oidc)
    engines = {"acme": await open_workspace(folder), "brix": await open_workspace(other)}
    server = await Server.open(server_settings, engines)
    try:
        for engine in engines.values():
            await engine.client(ADMIN).add_subject("GROUP:devs")
        async with httpx.AsyncClient(base_url=server.address, timeout=TIMEOUT) as http:
            headers = {"Authorization": f"Bearer {issuer.token()}"}
            responses = {
                tenant: await http.get("/api/v1/workspace", headers={**headers, "X-SE-TENANT": tenant})
                for tenant in ("acme", "brix", "nowhere")
            }
        assert {tenant: response.status_code for tenant, response in responses.items()} == {
            "acme": 401,
            "brix": 200,
            "nowhere": 401,
        }
        assert responses["acme"].text == responses["nowhere"].text
    finally:
        await server.stop()


def test_settings_file_accepts_one_or_several_issuers(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text("[oidc]\nissuer = 'https://one.example'\naudience = 'seal'\n")
    assert [each.issuer for each in load_server_settings(path).issuers] == ["https://one.example"]
    path.write_text(
        "listen = '127.0.0.1:0'\n[[oidc]]\nissuer = 'https://one.example'\n[oidc.groups]\nfw = 'owners'\n"
        "[[oidc]]\nissuer = 'https://two.example'\nsubject_prefix = 'two.'\n"
    )
    settings = load_server_settings(path)
    assert settings.listen == "127.0.0.1:0"
    assert [(each.issuer, each.groups) for each in settings.issuers] == [
        ("https://one.example", {"fw": "owners"}),
        ("https://two.example", {}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[oidc]]\nissuer = 'https://one.example'\n[[oidc]]\nisuer = 'x'", "oidc 2: unknown key 'isuer'"),
        ("oidc = ['https://one.example']", "oidc 1: not a table"),
        ("[[oidc]]\ngroups = 'x'", "oidc 1: invalid groups"),
        ("[[oidc]]\naudience = 'x'", "oidc 1: missing key issuer"),
    ],
)
def test_invalid_issuer_table_names_its_number(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "server.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_server_settings(path)
