"""Tests of permissions and credentials of AWS KMS with an emulator."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest

from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidKeyError, KeyProviderUnavailableError
from sealyard.model.provider_settings import Secrets
from tests.support.backend_access import catch_error
from tests.support.documented_policies import read_policy
from tests.support.ministack import ACCOUNT, REGION, MiniStack, allow, catch_kms_error, new_alias, open_kms

ED25519 = SigningAlgorithm.ED25519
ECDSA = SigningAlgorithm.ECC_NIST_P256
SECRET = b"a canary among device keys".ljust(32, b".")


def test_missing_permission_names_key_and_action(ministack: MiniStack) -> None:
    user = ministack.create_user(f"user-{token_hex(6)}", allow("kms:DescribeKey", "kms:GetPublicKey"))

    async def scenario() -> None:
        async with open_kms(ministack.settings()) as backend:
            signing_name, signing_key = await backend.generate(new_alias(), KeyType.ED25519)
            wrapping_name, wrapping_key = await backend.generate(new_alias(), KeyType.AES_256)
            wrapped = await backend.wrap(wrapping_name, wrapping_key.native_id, SECRET, b"context")
        async with open_kms(ministack.settings(), user) as reader:
            await reader.probe()
            await reader.describe(signing_name)
            wrapping_id = wrapping_key.native_id
            for operation, name, action in (
                (reader.sign(signing_name, signing_key.native_id, ED25519, b"m", None), signing_name, "kms:Sign"),
                (reader.rotate(signing_name), signing_name, "kms:GetKeyPolicy"),
                (reader.wrap(wrapping_name, wrapping_id, SECRET, b""), wrapping_name, "kms:GenerateDataKey"),
                (reader.unwrap(wrapping_name, wrapping_id, wrapped, b"context"), wrapping_name, "kms:Decrypt"),
                (reader.list_keys(), REGION, "kms:ListAliases"),
                (reader.generate(new_alias(), KeyType.ED25519), "alias/", "kms:CreateKey"),
            ):
                error = await catch_error(operation)
                assert isinstance(error, InvalidKeyError)
                assert name in error.message
                assert f"does not permit {action}" in error.message
                assert action in error.hint

    asyncio.run(scenario())


def documented_policy(name: str, signing_key: str = "*", wrapping_key: str = "*") -> dict[str, Any]:
    """Return a policy of the documentation for the account of the emulator and the given key ids."""
    text = read_policy("aws_kms", name).replace("111122223333", ACCOUNT)
    policy: dict[str, Any] = json.loads(text.replace("SIGNING-KEY", signing_key).replace("WRAPPING-KEY", wrapping_key))
    return policy


def test_documented_policy_permits_use_only(ministack: MiniStack) -> None:
    """Unlike AWS, the emulator evaluates aliases without their keys, and changes of aliases without any resource."""
    policy = documented_policy("manage")
    policy["Statement"] += allow("kms:CreateAlias", "kms:UpdateAlias")["Statement"]
    manager_credentials = ministack.create_user(f"user-{token_hex(6)}", policy)

    async def scenario() -> None:
        async with open_kms(ministack.settings(), manager_credentials) as manager:
            alias_name, signing_key = await manager.generate(new_alias(), KeyType.EC_P256)
            _, wrapping_key = await manager.generate(new_alias(), KeyType.AES_256)
            other_name, other_key = await manager.generate(new_alias(), KeyType.EC_P256)
            assert await manager.rotate(other_name)
            assert alias_name in [key.name for key in await manager.list_keys()]
        signing_name, wrapping_name = signing_key.native_id, wrapping_key.native_id
        key_ids = [key.native_id.rpartition("/")[2] for key in (signing_key, wrapping_key)]
        credentials = ministack.create_user(f"user-{token_hex(6)}", documented_policy("use", *key_ids))
        async with open_kms(ministack.settings(), credentials) as user:
            await user.probe()
            assert (await user.describe(signing_name)).native_id == signing_key.native_id
            assert await user.sign(signing_name, signing_key.native_id, ECDSA, b"message", None)
            wrapped = await user.wrap(wrapping_name, wrapping_key.native_id, SECRET, b"context")
            assert await user.unwrap(wrapping_name, wrapping_key.native_id, wrapped, b"context") == SECRET
            for operation in (
                user.list_keys(),
                user.generate(new_alias(), KeyType.EC_P256),
                user.describe(other_name),
                user.sign(other_key.native_id, other_key.native_id, ECDSA, b"message", None),
            ):
                assert "does not permit" in (await catch_error(operation)).message

    asyncio.run(scenario())


def test_refused_credentials_are_explained(ministack: MiniStack) -> None:
    user = ministack.create_user(f"user-{token_hex(6)}", allow("kms:*"))
    wrong_secret = {**user.values, "secret_access_key": b"a-canary-among-secrets"}
    unknown_key = {**user.values, "access_key_id": b"AKIACANARYCANARYCAN"}
    for values in (wrong_secret, unknown_key):
        error = catch_kms_error(ministack.settings(), Secrets(values=values))
        assert not isinstance(error, KeyProviderUnavailableError)
        assert "does not accept the credentials" in error.message
    only_one = Secrets(values={"access_key_id": b"AKIACANARYCANARYCAN"})
    assert "no secret named secret_access_key" in catch_kms_error(ministack.settings(), only_one).message


def test_credentials_of_the_sdk_are_used(ministack: MiniStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    assert "no credentials" in catch_kms_error(ministack.settings(), Secrets()).message
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = test\naws_secret_access_key = test\n")

    async def scenario() -> None:
        async with open_kms(ministack.settings(), Secrets()) as backend:
            await backend.list_keys()

    asyncio.run(scenario())


def test_sdk_logs_no_secrets(ministack: MiniStack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def scenario() -> None:
        async with open_kms(ministack.settings()) as backend:
            name, key = await backend.generate(new_alias(), KeyType.AES_256)
            wrapped = await backend.wrap(name, key.native_id, SECRET, b"context")
            assert await backend.unwrap(name, key.native_id, wrapped, b"context") == SECRET

    asyncio.run(scenario())
    assert not [record for record in caplog.records if record.name.startswith(("boto", "urllib3"))]
