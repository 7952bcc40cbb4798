"""People come with their issuer's tokens to a real server, and may do there what their roles let them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from real_issuer import AUDIENCE, real_issuer
from yard import ADMIN, GATEWAY, opened

from sealyard.engine.roles import ISSUER
from sealyard.model.access import Action
from sealyard.model.audit import AuditFilter
from sealyard.server.service import Service
from sealyard.server.settings import OidcSettings, ServerSettings

pytestmark = pytest.mark.anyio


async def test_a_token_of_the_issuer_opens_what_its_roles_open_and_no_more(folder: Path) -> None:
    with real_issuer() as issuer:
        settings = ServerSettings(listen="127.0.0.1:0", oidc=OidcSettings(issuer=issuer.url, audience=AUDIENCE))
        service = await Service.open(settings, {"acme": await opened(folder)})
        try:
            (host,) = (host for _, host in service.tenants)
            admin = host.client(ADMIN)
            await admin.add_subject("GROUP:devs")
            await admin.add_rule("GROUP:devs", f"DEVICE_CONFIG:{GATEWAY}", Action.USE)
            async with httpx.AsyncClient(base_url=service.address) as calls:

                async def devices(token: str) -> httpx.Response:
                    headers = {"Authorization": f"Bearer {token}"}
                    return await calls.get("/api/v1/deviceConfig", headers=headers)

                known = await devices(issuer.token(roles=["devs"]))
                without = await devices(issuer.token(roles=[]))
                stranger = await devices(issuer.token(preferred_username="berta", roles=["other"]))
                elsewhere = await devices(issuer.token(aud="elsewhere"))
            audit = await admin.audit(AuditFilter(author=ISSUER))
        finally:
            await service.stop()
    assert (known.status_code, [each["name"] for each in known.json()]) == (200, [GATEWAY])
    assert (without.status_code, without.json()) == (200, [])
    assert (stranger.status_code, stranger.json()["code"]) == (403, "not-allowed")
    assert (elsewhere.status_code, elsewhere.json()["code"]) == (401, "unauthenticated")
    assert [each.message for each in audit.entries] == [
        "USER:anna is in GROUP:devs no more",
        "USER:anna is in GROUP:devs",
        "USER:anna was added",
    ]
