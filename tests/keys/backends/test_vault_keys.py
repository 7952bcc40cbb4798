"""Tests of keys in a real OpenBao server: permissions, names, versions, and keys that cannot be used."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_public_key

from sealyard.crypto.signatures import verify
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidInputError, InvalidKeyError, NotFoundError
from sealyard.model.provider_settings import Secrets
from tests.support.backend_access import catch_error
from tests.support.documented_policies import read_policy
from tests.support.openbao import MOUNT, POLICY, OpenBao, catch_vault_error, new_name, open_vault

ED25519 = SigningAlgorithm.ED25519


def test_missing_permission_names_key_and_path(openbao: OpenBao) -> None:
    openbao.write_policy('path "transit/keys/*" { capabilities = ["read"] }', "reader")
    token = Secrets(values={"token": openbao.create_token(policies=["reader"])})

    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend:
            signing_name, _ = await backend.generate(new_name(), KeyType.ED25519)
            wrapping_name, _ = await backend.generate(new_name(), KeyType.AES_256)
        async with open_vault(openbao.settings(), token) as reader:
            for operation, name, path in (
                (reader.sign(signing_name, "1", ED25519, b"message", None), signing_name, "transit/sign/"),
                (reader.rotate(signing_name), signing_name, "transit/keys/"),
                (reader.wrap(wrapping_name, "1", b"secret", b""), wrapping_name, "transit/encrypt/"),
                (reader.unwrap(wrapping_name, "1", b"secret", b""), wrapping_name, "transit/decrypt/"),
                (reader.list_keys(), "vault:transit", "transit/keys"),
            ):
                error = await catch_error(operation)
                assert isinstance(error, InvalidKeyError)
                assert name in error.message
                assert "corp" in error.message
                assert path in error.hint

    asyncio.run(scenario())


def test_documented_policy_permits_use_only(openbao: OpenBao) -> None:
    openbao.write_policy(read_policy("vault", "use"), "user")
    token = Secrets(values={"token": openbao.create_token(policies=["user"])})

    async def scenario() -> None:
        signing_name, wrapping_name = f"{MOUNT}/gateway-sign", f"{MOUNT}/device-keys"
        async with open_vault(*openbao.approle()) as manager:
            await manager.generate(signing_name, KeyType.ED25519)
            await manager.generate(wrapping_name, KeyType.AES_256)
            await manager.rotate(signing_name)
            other_name, _ = await manager.generate(new_name(), KeyType.ED25519)
        async with open_vault(openbao.settings(), token) as user:
            await user.probe()
            for native_id in ("1", "2"):
                assert await user.sign(signing_name, native_id, ED25519, b"message", None)
            wrapped = await user.wrap(wrapping_name, "1", b"secret", b"context")
            assert await user.unwrap(wrapping_name, "1", wrapped, b"context") == b"secret"
            for operation in (
                user.list_keys(),
                user.rotate(signing_name),
                user.generate(new_name(), KeyType.ED25519),
                user.describe(other_name),
                user.sign(other_name, "1", ED25519, b"message", None),
            ):
                assert "does not permit" in (await catch_error(operation)).message

    asyncio.run(scenario())


def test_list_omits_keys_that_cannot_be_used(openbao: OpenBao) -> None:
    derived, unsupported, usable = (new_name() for _ in range(3))
    openbao.send("POST", f"{MOUNT}/keys/{derived.rpartition('/')[2]}", {"type": "aes256-gcm96", "derived": True})
    openbao.send("POST", f"{MOUNT}/keys/{unsupported.rpartition('/')[2]}", {"type": "ecdsa-p384"})
    openbao.send("POST", f"{MOUNT}/keys/{usable.rpartition('/')[2]}", {"type": "ed25519"})

    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend:
            names = [key.name for key in await backend.list_keys()]
            assert usable in names
            for name in (derived, unsupported):
                assert name not in names
                assert isinstance(await catch_error(backend.describe(name)), InvalidKeyError)

    asyncio.run(scenario())


def test_soft_deleted_key_is_not_found(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend:
            name, _ = await backend.generate(new_name(), KeyType.ED25519)
            path = f"{MOUNT}/keys/{name.rpartition('/')[2]}"
            openbao.send("DELETE", f"{path}/soft-delete")
            assert isinstance(await catch_error(backend.describe(name)), NotFoundError)
            assert name not in [key.name for key in await backend.list_keys()]
            openbao.send("POST", f"{path}/soft-delete-restore", {})
            assert await backend.describe(name)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "name", ["", "transit", "transit/", "transit/..", "transit/../sys/seal", "other/key", "transit/a b"]
)
def test_name_outside_the_engine_is_not_found(openbao: OpenBao, name: str) -> None:
    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend:
            assert isinstance(await catch_error(backend.resolve(name)), NotFoundError)

    asyncio.run(scenario())


def test_wrap_does_not_create_an_unknown_key(openbao: OpenBao) -> None:
    """The server creates the key if the policy permits it."""
    openbao.write_policy(POLICY + 'path "transit/encrypt/+" { capabilities = ["create", "update"] }', "all")
    token = Secrets(values={"token": openbao.create_token(policies=["all"])})

    async def scenario() -> None:
        async with open_vault(openbao.settings(), token) as backend:
            name = new_name()
            for _ in range(2):
                assert isinstance(await catch_error(backend.wrap(name, "1", b"secret", b"")), NotFoundError)

    asyncio.run(scenario())


def test_unusable_secrets_engine_is_explained(openbao: OpenBao) -> None:
    openbao.send("POST", "sys/mounts/secret-store", {"type": "kv"})
    secrets = Secrets(values={"token": openbao.root_token.encode()})
    assert "is not a Transit engine" in catch_vault_error(openbao.settings(mount="secret-store"), secrets).message
    assert "has no secrets engine at missing/" in catch_vault_error(openbao.settings(mount="missing"), secrets).message


def test_disabled_versions_are_explained(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend:
            name, _ = await backend.generate(new_name(), KeyType.ED25519)
            assert (await backend.rotate(name)).native_id == "2"
            configuration = f"{MOUNT}/keys/{name.rpartition('/')[2]}/config"
            openbao.send("POST", configuration, {"min_encryption_version": 2})
            error = await catch_error(backend.sign(name, "1", ED25519, b"message", None))
            assert type(error) is InvalidKeyError
            assert "requested version" in error.message
            openbao.send("POST", configuration, {"min_decryption_version": 2})
        async with open_vault(*openbao.approle()) as backend:
            for native_id in ("1", "3", "", "x"):
                error = await catch_error(backend.sign(name, native_id, ED25519, b"message", None))
                assert isinstance(error, NotFoundError)
            assert await backend.sign(name, "2", ED25519, b"message", None)

    asyncio.run(scenario())


def test_version_of_another_process_is_found(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend, open_vault(*openbao.approle()) as other:
            name, _ = await backend.generate(new_name(), KeyType.ED25519)
            version = await other.rotate(name)
            assert version.public_key is not None
            signature = await backend.sign(name, version.native_id, ED25519, b"message", None)
            public_key = load_pem_public_key(version.public_key.encode())
            assert verify(public_key, ED25519, b"message", signature, prehashed=False)

    asyncio.run(scenario())


def test_digest_is_never_sent_for_pure_algorithms(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend:
            for kind, algorithm in (
                (KeyType.ED25519, ED25519),
                (KeyType.ML_DSA_44, SigningAlgorithm.ML_DSA_44),
            ):
                name, key = await backend.generate(new_name(), kind)
                for digest in HashName:
                    error = await catch_error(backend.sign(name, key.native_id, algorithm, bytes(32), digest))
                    assert isinstance(error, InvalidKeyError)
                    assert "signs the message" in error.message

    asyncio.run(scenario())


def test_message_above_server_limit_is_explained(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend:
            name, key = await backend.generate(new_name(), KeyType.ED25519)
            error = await catch_error(backend.sign(name, key.native_id, ED25519, bytes(26_000_000), None))
            assert isinstance(error, InvalidInputError)
            assert name in error.message

    asyncio.run(scenario())


def test_certificate_of_the_key_is_reported(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend:
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


def test_unwrapped_secret_is_bound_to_its_version(openbao: OpenBao) -> None:
    async def scenario() -> None:
        async with open_vault(*openbao.approle()) as backend:
            name, first = await backend.generate(new_name(), KeyType.AES_256)
            wrapped = await backend.wrap(name, first.native_id, b"secret", b"context")
            second = await backend.rotate(name)
            assert await backend.unwrap(name, first.native_id, wrapped, b"context") == b"secret"
            error = await catch_error(backend.unwrap(name, second.native_id, wrapped, b"context"))
            assert isinstance(error, InvalidKeyError)
            assert name in error.message
            assert base64.b64encode(wrapped).decode() not in str(error)

    asyncio.run(scenario())


def test_engine_in_a_namespace_is_used(openbao: OpenBao) -> None:
    openbao.send("POST", "sys/namespaces/team", {})
    openbao.send("POST", "team/sys/mounts/keys/transit", {"type": "transit"})
    policy = read_policy("vault", "manage").replace('"transit/', '"keys/transit/')
    openbao.send("PUT", "team/sys/policies/acl/sealyard", {"policy": policy})
    token = openbao.send("POST", "team/auth/token/create", {"policies": ["sealyard"]})["auth"]["client_token"]
    settings = openbao.settings(namespace="team", mount="keys/transit")

    async def scenario() -> None:
        async with open_vault(settings, Secrets(values={"token": token.encode()})) as backend:
            name, key = await backend.generate("keys/transit/gateway-sign", KeyType.ED25519)
            assert [listed.name for listed in await backend.list_keys()] == [name]
            assert await backend.sign(name, key.native_id, ED25519, b"message", None)

    asyncio.run(scenario())
