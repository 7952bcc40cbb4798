"""Tests of the login to a real OpenBao server, and of its tokens."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.keys.backends.vault import session
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.errors import KeyProviderError
from sealyard.model.provider_settings import Secrets
from tests.support.backend_access import catch_error, wait_until
from tests.support.openbao import ROLE, OpenBao, catch_vault_error, new_name, open_vault

ED25519 = SigningAlgorithm.ED25519


def test_token_of_the_settings_is_used(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with open_vault(openbao.settings(), Secrets(values={"token": openbao.create_token()})) as backend:
            name, key = await backend.generate(new_name(), KeyType.ED25519)
            assert await backend.sign(name, key.native_id, ED25519, b"message", None)

    asyncio.run(scenario())


def test_rejected_credentials_are_explained(openbao: OpenBao) -> None:
    role_id, _ = openbao.create_role()
    canary = Secrets(values={"token": b"a-canary", "secret_id": b"a-canary"})
    assert "does not accept the token" in catch_vault_error(openbao.settings(), canary).message
    assert "rejected the login" in catch_vault_error(openbao.settings(role_id=role_id), canary).message
    assert "rejected the login" in catch_vault_error(openbao.settings(role_id="unknown"), canary).message
    assert "no secret named token" in catch_vault_error(openbao.settings(), Secrets()).message


@pytest.mark.parametrize("secret", [b"a-canary\nX-Other: 1", "a-canáry".encode(), b"a canary"])
def test_unprintable_secret_is_refused(openbao: OpenBao, secret: bytes) -> None:
    assert "not printable ASCII" in catch_vault_error(openbao.settings(), Secrets(values={"token": secret})).message


def test_revoked_token_is_replaced_by_one_login(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend:
            name, key = await backend.generate(new_name(), KeyType.ED25519)
            revoke_role_tokens(openbao)
            signatures = [backend.sign(name, key.native_id, ED25519, b"message", None) for _ in range(5)]
            assert len(set(await asyncio.gather(*signatures))) == 1
            assert len(role_tokens(openbao)) == 1

    revoke_role_tokens(openbao)
    asyncio.run(scenario())


def test_rejected_login_is_not_repeated_at_once(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend:
            openbao.send("DELETE", f"auth/approle/role/{ROLE}")
            revoke_role_tokens(openbao)
            assert "rejected the login" in (await catch_error(backend.list_keys())).message
            openbao.create_role()
            assert "rejected the login" in (await catch_error(backend.list_keys())).message
            await catch_error(backend.probe())

    asyncio.run(scenario())


def test_revoked_token_of_the_settings_is_explained(openbao: OpenBao) -> None:
    token = openbao.create_token()

    async def scenario() -> None:
        async with open_vault(openbao.settings(), Secrets(values={"token": token})) as backend:
            openbao.send("POST", "auth/token/revoke", {"token": token.decode()})
            error = await catch_error(backend.probe())
            assert type(error) is KeyProviderError
            assert "has expired, was revoked" in error.message
            assert token.decode() not in str(error)

    asyncio.run(scenario())


def test_token_is_renewed_before_it_expires(openbao: OpenBao, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is renewed early, so that it does not expire first on a busy machine."""
    monkeypatch.setattr(session, "RENEWAL_SHARE", 0.02)
    token = openbao.create_token(period="60s")

    async def scenario() -> None:
        async with open_vault(openbao.settings(), Secrets(values={"token": token})) as backend:
            lookup = {"token": token.decode()}
            await wait_until(lambda: "last_renewal_time" in openbao.send("POST", "auth/token/lookup", lookup)["data"])
            await backend.probe()

    asyncio.run(scenario())


def test_approle_token_is_replaced_before_expiry(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with open_vault(*openbao.approle(token_ttl="3s", token_max_ttl="3s")) as backend:
            first_tokens = role_tokens(openbao)
            await wait_until(lambda: bool(role_tokens(openbao) - first_tokens))
            await backend.probe()

    revoke_role_tokens(openbao)
    asyncio.run(scenario())
    openbao.create_role(token_ttl="0", token_max_ttl="0")


def role_tokens(server: OpenBao) -> set[str]:
    """Return the accessors of the tokens of the role."""
    accessors = server.send("LIST", "auth/token/accessors")["data"]["keys"]
    return {accessor for accessor in accessors if _is_role_token(server, accessor)}


def _is_role_token(server: OpenBao, accessor: str) -> bool:
    try:
        data = server.send("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
    except AssertionError:  # expired meanwhile
        return False
    return str(data["path"]) == "auth/approle/login"


def revoke_role_tokens(server: OpenBao) -> None:
    for accessor in role_tokens(server):
        server.send("POST", "auth/token/revoke-accessor", {"accessor": accessor})
