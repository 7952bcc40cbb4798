"""Tests of an OpenBao server that is sealed, killed, unreachable or not trusted."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sealyard.crypto.signatures import verify
from sealyard.keys.backends.vault import client
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.errors import KeyProviderError, KeyProviderUnavailableError
from sealyard.model.provider_settings import ProviderSettings, Secrets
from tests.support.backend_access import error_of, wait_until
from tests.support.openbao import OpenBao, new_name, opened_vault, run_openbao, vault_error
from tests.support.ports import ReservedPort
from tests.support.scripted_service import ScriptedResponse, run_scripted_service
from tests.support.tls_certificates import create_cert_pair

ED25519 = SigningAlgorithm.ED25519


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OpenBao]:
    """A server that the test may stop."""
    with run_openbao(tmp_path) as server:
        yield server


def test_sealed_and_killed_server_can_be_used_again(own_server: OpenBao) -> None:
    async def scenario() -> None:
        async with opened_vault(*own_server.approle()) as backend:
            name, key = await backend.generate(new_name(), KeyType.ED25519)
            operations: tuple[Callable[[], Awaitable[object]], ...] = (
                backend.probe,
                backend.list_keys,
                lambda: backend.sign(name, key.native_id, ED25519, b"message", None),
            )
            own_server.seal()
            for operation in operations:
                error = await error_of(operation())
                assert isinstance(error, KeyProviderUnavailableError)
                assert "sealed" in error.message
            own_server.unseal()
            for operation in operations:
                await operation()
            own_server.kill()
            for operation in operations:
                error = await error_of(operation())
                assert isinstance(error, KeyProviderUnavailableError)
                assert own_server.url in error.message
            own_server.start()
            for operation in operations:
                await operation()

    asyncio.run(scenario())


def test_work_continues_after_the_server_was_killed(own_server: OpenBao) -> None:
    async def scenario() -> None:
        async with opened_vault(*own_server.approle()) as backend:
            name, key = await backend.generate(new_name(), KeyType.EC_P256)
            assert key.public_key is not None
            public_key, algorithm = load_pem_public_key(key.public_key.encode()), SigningAlgorithm.ECC_NIST_P256
            failures = 0

            async def sign(number: int) -> None:
                nonlocal failures
                message = number.to_bytes(2, "big")
                while True:
                    try:
                        signature = await backend.sign(name, key.native_id, algorithm, message, None)
                    except KeyProviderUnavailableError:
                        failures += 1
                        continue
                    assert verify(public_key, algorithm, message, signature, prehashed=False)
                    return

            async def restart() -> None:
                await asyncio.to_thread(own_server.kill)
                await wait_until(lambda: failures > 0)
                await asyncio.to_thread(own_server.start)

            await asyncio.gather(restart(), *(sign(number) for number in range(200)))
            assert failures

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (429, '{"errors":["request path is rate limited"]}', "limits the rate"),
        (307, "", "is a standby"),
        (472, "{}", "is a standby"),
        (412, '{"errors":["required index state not present"]}', "failed (status 412)"),
        (500, '{"errors":["local node not active but active cluster node not found"]}', "failed (status 500)"),
        (502, "<html>Bad Gateway</html>", "failed (status 502)"),
        (503, '{"errors":["Vault is sealed"]}', "is sealed or not ready"),
    ],
)
def test_status_of_a_server_that_is_not_ready_is_unavailable(status: int, body: str, words: str) -> None:
    error = scripted_error(ScriptedResponse(status, body))
    assert type(error) is KeyProviderUnavailableError
    assert words in error.message


@pytest.mark.parametrize("response", [(200, "<html>"), (404, "Not Found"), (400, "[]"), (200, '{"data": 1}')])
def test_server_of_another_kind_is_refused(response: tuple[int, str]) -> None:
    error = scripted_error(ScriptedResponse(*response))
    assert type(error) is KeyProviderError
    assert "does not answer like a Vault or OpenBao server" in error.message


def scripted_error(response: ScriptedResponse) -> KeyProviderError:
    with run_scripted_service(response) as service:
        settings = ProviderSettings(name="corp", provider="vault", options={"address": service.url})
        return vault_error(settings, Secrets(values={"token": b"a-canary"}))


def test_unreachable_server_is_unavailable(openbao: OpenBao) -> None:
    _, secrets = openbao.approle()
    with ReservedPort() as port:
        settings = openbao.settings(address=f"http://127.0.0.1:{port.number}", role_id="role")
        error = vault_error(settings, secrets)
    assert isinstance(error, KeyProviderUnavailableError)
    assert "is not reachable" in error.message


def test_server_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "READ_TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        settings = ProviderSettings(name="corp", provider="vault", options={"address": address})
        error = vault_error(settings, Secrets(values={"token": b"a-canary"}))
    assert isinstance(error, KeyProviderUnavailableError)
    assert "does not answer in time" in error.message


def test_server_without_tls_is_explained() -> None:
    with run_scripted_service(ScriptedResponse(200)) as service:
        address = service.url.replace("http:", "https:")
        settings = ProviderSettings(name="corp", provider="vault", options={"address": address})
        error = vault_error(settings, Secrets(values={"token": b"a-canary"}))
    assert isinstance(error, KeyProviderUnavailableError)
    assert "does not answer with TLS" in error.message
    assert "option address" in error.hint


def test_certificate_of_the_server_is_verified(tmp_path: Path) -> None:
    certificate, key = create_cert_pair(tmp_path, "server")
    folder = tmp_path / "openbao"
    folder.mkdir()
    with run_openbao(folder, certificate, key) as server:
        secrets = Secrets(values={"token": server.root_token.encode()})

        async def scenario() -> None:
            async with opened_vault(server.settings(ca_file=str(certificate)), secrets) as backend:
                assert await backend.list_keys() == ()

        asyncio.run(scenario())
        error = vault_error(server.settings(), secrets)
        assert not isinstance(error, KeyProviderUnavailableError)
        assert "is not trusted" in error.message
        plain_url = server.url.replace("https", "http")
        assert "does not answer like a Vault" in vault_error(server.settings(address=plain_url), secrets).message
    for ca_file in (tmp_path / "missing", key):
        assert str(ca_file) in vault_error(server.settings(ca_file=str(ca_file)), secrets).message


@pytest.mark.parametrize(
    "address",
    [
        "http://vault.example:8200",
        "http://192.0.2.1:8200",
        "https://?",
        "https://me:password@vault.example",
        "https://a:0",
        "https://a:x",
    ],
)
def test_unsafe_or_invalid_address_is_refused(address: str) -> None:
    settings = ProviderSettings(name="corp", provider="vault", options={"address": address})
    message = vault_error(settings, Secrets(values={"token": b"a-canary"})).message
    assert "not encrypted" in message or "not the URL" in message
    assert "password" not in message
