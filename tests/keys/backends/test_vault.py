"""Tests of the backend ``vault`` with a real OpenBao server: login, tokens, permissions, failures and their errors."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_hex

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from sealyard.crypto.signatures import verify
from sealyard.keys.backends.vault.backend import VaultBackend
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import (
    InvalidInputError,
    InvalidKeyError,
    KeyProviderError,
    KeyProviderUnavailableError,
    NotFoundError,
    SealyardError,
)
from sealyard.model.provider_settings import ProviderSettings, Secrets
from tests.support.limits import TIMEOUT
from tests.support.openbao import MOUNT, POLICY, ROLE, OpenBao, run_openbao
from tests.support.ports import ReservedPort
from tests.support.tls_certificates import create_cert_pair

ED25519 = SigningAlgorithm.ED25519


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OpenBao]:
    """A server that the test may stop."""
    with run_openbao(tmp_path) as server:
        yield server


@asynccontextmanager
async def opened(settings: ProviderSettings, secrets: Secrets) -> AsyncIterator[VaultBackend]:
    backend = await VaultBackend.open(settings, secrets)
    try:
        yield backend
    finally:
        await backend.close()


def open_error(settings: ProviderSettings, secrets: Secrets) -> KeyProviderError:
    """Return the error of opening a backend, which never contains a secret."""
    with pytest.raises(KeyProviderError) as caught:
        asyncio.run(VaultBackend.open(settings, secrets))
    error = caught.value
    assert error.hint
    assert "corp" in error.message
    for secret in secrets.values.values():
        assert secret.decode(errors="replace") not in str(error)
    return error


async def error_of(operation: Awaitable[object]) -> SealyardError:
    with pytest.raises(SealyardError) as caught:
        await operation
    return caught.value


async def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline


def new_name() -> str:
    return f"{MOUNT}/test-{token_hex(6)}"


# ---- login and tokens


def test_token_of_the_settings_is_used(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with opened(openbao.settings(), Secrets(values={"token": openbao.create_token()})) as backend:
            name, key = await backend.generate(new_name(), KeyType.ED25519)
            assert await backend.sign(name, key.native_id, ED25519, b"message", None)

    asyncio.run(scenario())


def test_rejected_credentials_are_explained(openbao: OpenBao) -> None:
    role_id, _ = openbao.create_role()
    canary = Secrets(values={"token": b"a-canary", "secret_id": b"a-canary"})
    assert "does not accept the token" in open_error(openbao.settings(), canary).message
    assert "rejected the login" in open_error(openbao.settings(role_id=role_id), canary).message
    assert "rejected the login" in open_error(openbao.settings(role_id="unknown"), canary).message
    assert "no secret named token" in open_error(openbao.settings(), Secrets()).message


@pytest.mark.parametrize("secret", [b"a-canary\nX-Other: 1", "a-canáry".encode(), b"a canary"])
def test_secret_that_is_no_header_value_is_refused(openbao: OpenBao, secret: bytes) -> None:
    assert "not printable ASCII" in open_error(openbao.settings(), Secrets(values={"token": secret})).message


def test_revoked_token_is_replaced_by_one_login(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with opened(*openbao.approle()) as backend:
            name, key = await backend.generate(new_name(), KeyType.ED25519)
            revoke_role_tokens(openbao)
            signatures = [backend.sign(name, key.native_id, ED25519, b"message", None) for _ in range(5)]
            assert len(set(await asyncio.gather(*signatures))) == 1
            assert len(role_tokens(openbao)) == 1

    revoke_role_tokens(openbao)
    asyncio.run(scenario())


def test_rejected_login_is_not_repeated_at_once(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with opened(*openbao.approle()) as backend:
            openbao.send("DELETE", f"auth/approle/role/{ROLE}")
            revoke_role_tokens(openbao)
            assert "rejected the login" in (await error_of(backend.list_keys())).message
            openbao.create_role()
            assert "rejected the login" in (await error_of(backend.list_keys())).message
            await error_of(backend.probe())

    asyncio.run(scenario())


def test_revoked_token_of_the_settings_is_explained(openbao: OpenBao) -> None:
    token = openbao.create_token()

    async def scenario() -> None:
        async with opened(openbao.settings(), Secrets(values={"token": token})) as backend:
            openbao.send("POST", "auth/token/revoke", {"token": token.decode()})
            error = await error_of(backend.probe())
            assert type(error) is KeyProviderError
            assert "has expired, was revoked" in error.message
            assert token.decode() not in str(error)

    asyncio.run(scenario())


def test_token_is_renewed_before_it_expires(openbao: OpenBao) -> None:
    token = openbao.create_token(period="3s")

    async def scenario() -> None:
        async with opened(openbao.settings(), Secrets(values={"token": token})) as backend:
            lookup = {"token": token.decode()}
            await wait_until(lambda: "last_renewal_time" in openbao.send("POST", "auth/token/lookup", lookup)["data"])
            await backend.probe()

    asyncio.run(scenario())


def test_approle_token_is_replaced_before_its_last_expiry(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with opened(*openbao.approle(token_ttl="3s", token_max_ttl="3s")) as backend:
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


# ---- permissions and keys that cannot be used


def test_missing_permission_names_key_and_path(openbao: OpenBao) -> None:
    openbao.write_policy('path "transit/keys/*" { capabilities = ["read"] }', "reader")
    token = Secrets(values={"token": openbao.create_token(policies=["reader"])})

    async def scenario() -> None:
        async with opened(*openbao.approle()) as backend:
            signing_name, _ = await backend.generate(new_name(), KeyType.ED25519)
            wrapping_name, _ = await backend.generate(new_name(), KeyType.AES_256)
        async with opened(openbao.settings(), token) as reader:
            for operation, name, path in (
                (reader.sign(signing_name, "1", ED25519, b"message", None), signing_name, "transit/sign/"),
                (reader.rotate(signing_name), signing_name, "transit/keys/"),
                (reader.wrap(wrapping_name, "1", b"secret", b""), wrapping_name, "transit/encrypt/"),
                (reader.unwrap(wrapping_name, "1", b"secret", b""), wrapping_name, "transit/decrypt/"),
                (reader.list_keys(), "vault:transit", "transit/keys"),
            ):
                error = await error_of(operation)
                assert isinstance(error, InvalidKeyError)
                assert name in error.message
                assert "corp" in error.message
                assert path in error.hint

    asyncio.run(scenario())


def test_list_omits_keys_that_cannot_be_used(openbao: OpenBao) -> None:
    derived, unsupported, usable = (new_name() for _ in range(3))
    openbao.send("POST", f"{MOUNT}/keys/{derived.rpartition('/')[2]}", {"type": "aes256-gcm96", "derived": True})
    openbao.send("POST", f"{MOUNT}/keys/{unsupported.rpartition('/')[2]}", {"type": "ecdsa-p384"})
    openbao.send("POST", f"{MOUNT}/keys/{usable.rpartition('/')[2]}", {"type": "ed25519"})

    async def scenario() -> None:
        async with opened(*openbao.approle()) as backend:
            names = [key.name for key in await backend.list_keys()]
            assert usable in names
            for name in (derived, unsupported):
                assert name not in names
                assert isinstance(await error_of(backend.describe(name)), InvalidKeyError)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "name", ["", "transit", "transit/", "transit/..", "transit/../sys/seal", "other/key", "transit/a b"]
)
def test_name_outside_the_engine_is_not_found(openbao: OpenBao, name: str) -> None:
    async def scenario() -> None:
        async with opened(*openbao.approle()) as backend:
            assert isinstance(await error_of(backend.resolve(name)), NotFoundError)

    asyncio.run(scenario())


def test_wrap_does_not_create_an_unknown_key(openbao: OpenBao) -> None:
    """The server creates the key if the policy permits it."""
    openbao.write_policy(
        POLICY.replace('encrypt/*" { capabilities = [', 'encrypt/*" { capabilities = ["create", '), "all"
    )
    token = Secrets(values={"token": openbao.create_token(policies=["all"])})

    async def scenario() -> None:
        async with opened(openbao.settings(), token) as backend:
            name = new_name()
            for _ in range(2):
                assert isinstance(await error_of(backend.wrap(name, "1", b"secret", b"")), NotFoundError)

    asyncio.run(scenario())


def test_engine_that_cannot_be_used_is_explained(openbao: OpenBao) -> None:
    openbao.send("POST", "sys/mounts/secret-store", {"type": "kv"})
    secrets = Secrets(values={"token": openbao.root_token.encode()})
    assert "is not a Transit engine" in open_error(openbao.settings(mount="secret-store"), secrets).message
    assert "has no secrets engine at missing/" in open_error(openbao.settings(mount="missing"), secrets).message


def test_disabled_versions_are_explained(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with opened(*openbao.approle()) as backend:
            name, _ = await backend.generate(new_name(), KeyType.ED25519)
            assert (await backend.rotate(name)).native_id == "2"
            configuration = f"{MOUNT}/keys/{name.rpartition('/')[2]}/config"
            openbao.send("POST", configuration, {"min_encryption_version": 2})
            error = await error_of(backend.sign(name, "1", ED25519, b"message", None))
            assert type(error) is InvalidKeyError
            assert "requested version" in error.message
            openbao.send("POST", configuration, {"min_decryption_version": 2})
        async with opened(*openbao.approle()) as backend:
            for native_id in ("1", "3", "", "x"):
                error = await error_of(backend.sign(name, native_id, ED25519, b"message", None))
                assert isinstance(error, NotFoundError)
            assert await backend.sign(name, "2", ED25519, b"message", None)

    asyncio.run(scenario())


def test_version_of_another_process_is_found(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with opened(*openbao.approle()) as backend, opened(*openbao.approle()) as other:
            name, _ = await backend.generate(new_name(), KeyType.ED25519)
            version = await other.rotate(name)
            assert version.public_key is not None
            signature = await backend.sign(name, version.native_id, ED25519, b"message", None)
            public_key = load_pem_public_key(version.public_key.encode())
            assert verify(public_key, ED25519, b"message", signature, prehashed=False)

    asyncio.run(scenario())


def test_digest_is_never_sent_for_pure_algorithms(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with opened(*openbao.approle()) as backend:
            for kind, algorithm in (
                (KeyType.ED25519, ED25519),
                (KeyType.ML_DSA_44, SigningAlgorithm.ML_DSA_44),
            ):
                name, key = await backend.generate(new_name(), kind)
                for digest in HashName:
                    error = await error_of(backend.sign(name, key.native_id, algorithm, bytes(32), digest))
                    assert isinstance(error, InvalidKeyError)
                    assert "signs the message" in error.message

    asyncio.run(scenario())


def test_message_above_the_limit_of_the_server_is_explained(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with opened(*openbao.approle()) as backend:
            name, key = await backend.generate(new_name(), KeyType.ED25519)
            error = await error_of(backend.sign(name, key.native_id, ED25519, bytes(26_000_000), None))
            assert isinstance(error, InvalidInputError)
            assert name in error.message

    asyncio.run(scenario())


def test_certificate_of_the_key_is_reported(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with opened(*openbao.approle()) as backend:
            name, key = await backend.generate(new_name(), KeyType.ED25519)
            assert key.certificate is None
            assert key.public_key is not None
            issued = issue_certificate(key.public_key)
            body = {"certificate_chain": issued, "version": 1}
            openbao.send("POST", f"{MOUNT}/keys/{name.rpartition('/')[2]}/set-certificate", body)
            assert (await backend.describe(name)).certificate == issued

    asyncio.run(scenario())


def issue_certificate(public_key: str) -> str:
    issuer_key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "company PKI")])
    now = datetime.now(UTC)
    loaded_key = load_pem_public_key(public_key.encode())
    assert isinstance(loaded_key, ed25519.Ed25519PublicKey)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1).public_key(loaded_key)
    certificate = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(issuer_key, None)
    return certificate.public_bytes(Encoding.PEM).decode()


# ---- servers that cannot be used now


def test_sealed_and_killed_server_can_be_used_again(own_server: OpenBao) -> None:
    async def scenario() -> None:
        async with opened(*own_server.approle()) as backend:
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
        async with opened(*own_server.approle()) as backend:
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


def test_unreachable_server_is_unavailable(openbao: OpenBao) -> None:
    _, secrets = openbao.approle()
    with ReservedPort() as port:
        settings = openbao.settings(address=f"http://127.0.0.1:{port.number}", role_id="role")
        error = open_error(settings, secrets)
    assert isinstance(error, KeyProviderUnavailableError)
    assert "is not reachable" in error.message


# ---- TLS and addresses


def test_certificate_of_the_server_is_verified(tmp_path: Path) -> None:
    certificate, key = create_cert_pair(tmp_path, "server")
    folder = tmp_path / "openbao"
    folder.mkdir()
    with run_openbao(folder, certificate, key) as server:
        secrets = Secrets(values={"token": server.root_token.encode()})

        async def scenario() -> None:
            async with opened(server.settings(ca_file=str(certificate)), secrets) as backend:
                assert await backend.list_keys() == ()

        asyncio.run(scenario())
        error = open_error(server.settings(), secrets)
        assert not isinstance(error, KeyProviderUnavailableError)
        assert "is not trusted" in error.message
        plain_url = server.url.replace("https", "http")
        assert "does not answer like a Vault" in open_error(server.settings(address=plain_url), secrets).message
    for ca_file in (tmp_path / "missing", key):
        assert str(ca_file) in open_error(server.settings(ca_file=str(ca_file)), secrets).message


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
    message = open_error(settings, Secrets(values={"token": b"a-canary"})).message
    assert "not encrypted" in message or "not the URL" in message
    assert "password" not in message


def test_unwrapped_secret_is_bound_to_its_version(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with opened(*openbao.approle()) as backend:
            name, first = await backend.generate(new_name(), KeyType.AES_256)
            wrapped = await backend.wrap(name, first.native_id, b"secret", b"context")
            second = await backend.rotate(name)
            assert await backend.unwrap(name, first.native_id, wrapped, b"context") == b"secret"
            error = await error_of(backend.unwrap(name, second.native_id, wrapped, b"context"))
            assert isinstance(error, InvalidKeyError)
            assert name in error.message
            assert base64.b64encode(wrapped).decode() not in str(error)

    asyncio.run(scenario())
