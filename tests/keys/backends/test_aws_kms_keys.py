"""Tests of keys in AWS KMS with an emulator: names, states, limits, rotation, and a server that is killed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sealyard.crypto.signatures import verify
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidInputError, InvalidKeyError, KeyProviderUnavailableError, NotFoundError
from tests.support.backend_access import catch_error
from tests.support.ministack import ACCOUNT, REGION, MiniStack, allow, new_alias, open_kms, run_ministack

ED25519 = SigningAlgorithm.ED25519
ECDSA = SigningAlgorithm.ECC_NIST_P256
SECRET = b"a canary among device keys".ljust(32, b".")


def test_alias_is_resolved_to_its_arn(ministack: MiniStack) -> None:
    async def scenario() -> None:
        async with open_kms(ministack.settings()) as backend:
            alias = new_alias()
            name, key = await backend.generate(alias, KeyType.EC_P256)
            assert name == f"arn:aws:kms:{REGION}:{ACCOUNT}:{alias}"
            assert key.native_id.startswith(f"arn:aws:kms:{REGION}:{ACCOUNT}:key/")
            assert await backend.resolve(alias) == await backend.resolve(name) == name
            assert await backend.resolve(key.native_id) == key.native_id
            assert await backend.sign(name, key.native_id, ECDSA, b"message", None)
            assert await backend.sign(alias, key.native_id, ECDSA, b"message", None)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "name",
    ["", "gateway-sign", "alias/", "alias/a b", "arn:aws:kms:eu-central-1:000000000000:key/", "arn:aws:s3:::bucket"],
)
def test_other_names_are_not_found(ministack: MiniStack, name: str) -> None:
    async def scenario() -> None:
        async with open_kms(ministack.settings()) as backend:
            error = await catch_error(backend.resolve(name))
            assert isinstance(error, NotFoundError)
            assert "alias/gateway-sign" in error.hint

    asyncio.run(scenario())


def test_other_region_or_account_is_explained(ministack: MiniStack) -> None:
    async def scenario() -> None:
        async with open_kms(ministack.settings(account=ACCOUNT)) as backend:
            for region, account, expected in (
                ("us-east-1", ACCOUNT, "is in the region us-east-1"),
                (REGION, "111122223333", "is in the account 111122223333"),
            ):
                error = await catch_error(backend.describe(f"arn:aws:kms:{region}:{account}:key/one"))
                assert isinstance(error, InvalidKeyError)
                assert expected in error.message
                assert "worker settings" in error.hint
        other_account = ministack.settings(account="111122223333")
        async with open_kms(other_account) as backend:
            key = ministack.client("kms").create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
            alias = new_alias()
            ministack.client("kms").create_alias(AliasName=alias, TargetKeyId=key["KeyMetadata"]["KeyId"])
            assert f"in the account {ACCOUNT}" in (await catch_error(backend.resolve(alias))).message

    asyncio.run(scenario())


def test_version_must_belong_to_the_name(ministack: MiniStack) -> None:
    async def scenario() -> None:
        async with open_kms(ministack.settings()) as backend:
            _, first = await backend.generate(new_alias(), KeyType.EC_P256)
            name, second = await backend.generate(new_alias(), KeyType.EC_P256)
            for key_name, native_id in (
                (first.native_id, second.native_id),
                (name, name),
                (name, "1"),
                (name, f"{second.native_id}0"),
            ):
                error = await catch_error(backend.sign(key_name, native_id, ECDSA, b"message", None))
                assert isinstance(error, NotFoundError)

    asyncio.run(scenario())


def test_list_has_aliases_and_keys_without_alias(ministack: MiniStack) -> None:
    kms = ministack.client("kms")

    def create(**parameters: Any) -> str:
        arn: str = kms.create_key(**parameters)["KeyMetadata"]["Arn"]
        return arn

    without_alias = create(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    unusable = [
        create(KeySpec="ECC_NIST_P384", KeyUsage="SIGN_VERIFY"),
        create(KeySpec="RSA_3072", KeyUsage="ENCRYPT_DECRYPT"),
        create(KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC"),
    ]
    disabled = create(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    kms.disable_key(KeyId=disabled)

    async def scenario() -> None:
        async with open_kms(ministack.settings()) as backend:
            alias = new_alias()
            name, key = await backend.generate(alias, KeyType.AES_256)
            listed = {entry.name: entry for entry in await backend.list_keys()}
            assert (listed[name].kind, listed[name].label) == (KeyType.AES_256, alias.removeprefix("alias/"))
            assert listed[without_alias].kind is KeyType.EC_P256
            assert not {*unusable, disabled, key.native_id} & listed.keys()
            for arn in unusable:
                error = await catch_error(backend.describe(arn))
                assert isinstance(error, InvalidKeyError)
                assert "type or usage" in error.message

    asyncio.run(scenario())


def test_rotation_keeps_the_key_policy(ministack: MiniStack) -> None:
    async def scenario() -> None:
        kms = ministack.client("kms")
        async with open_kms(ministack.settings()) as backend:
            name, first = await backend.generate(new_alias(), KeyType.EC_P256)
            assert first.capabilities.can_rotate
            policy = json.loads(kms.get_key_policy(KeyId=first.native_id, PolicyName="default")["Policy"])
            policy["Id"] = "policy of the team"
            kms.put_key_policy(KeyId=first.native_id, PolicyName="default", Policy=json.dumps(policy))
            second = await backend.rotate(name)
            copied = json.loads(kms.get_key_policy(KeyId=second.native_id, PolicyName="default")["Policy"])
            assert copied == policy
            assert kms.describe_key(KeyId=name)["KeyMetadata"]["Arn"] == second.native_id
            assert await backend.describe(name) == second
        async with open_kms(ministack.settings()) as backend:
            for key in (first, second):
                assert key.public_key is not None
                signature = await backend.sign(name, key.native_id, ECDSA, b"message", None)
                public_key = load_pem_public_key(key.public_key.encode())
                assert verify(public_key, ECDSA, b"message", signature, prehashed=False)

    asyncio.run(scenario())


def test_key_named_by_arn_cannot_rotate(ministack: MiniStack) -> None:
    async def scenario() -> None:
        async with open_kms(ministack.settings()) as backend:
            _, key = await backend.generate(new_alias(), KeyType.EC_P256)
            assert not (await backend.describe(key.native_id)).capabilities.can_rotate
            error = await catch_error(backend.rotate(key.native_id))
            assert isinstance(error, InvalidKeyError)
            assert "by an alias" in error.hint
            for name in (key.native_id, "alias/aws/test"):
                assert "needs an alias" in (await catch_error(backend.generate(name, KeyType.EC_P256))).message

    asyncio.run(scenario())


def test_key_with_imported_material_is_not_rotated(ministack: MiniStack) -> None:
    kms, alias = ministack.client("kms"), new_alias()
    key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Origin="EXTERNAL")
    kms.create_alias(AliasName=alias, TargetKeyId=key["KeyMetadata"]["KeyId"])

    async def scenario() -> None:
        async with open_kms(ministack.settings()) as backend:
            error = await catch_error(backend.rotate(alias))
            assert isinstance(error, InvalidKeyError)
            assert "was not generated by AWS KMS" in error.message
            assert "no key material" in (await catch_error(backend.describe(alias))).message

    asyncio.run(scenario())


@pytest.mark.parametrize("can_delete", [True, False])
def test_refused_alias_deletes_or_names_key(ministack: MiniStack, can_delete: bool) -> None:
    actions = ["kms:DescribeKey", "kms:CreateKey", "kms:GetKeyPolicy"]
    if can_delete:
        actions.append("kms:ScheduleKeyDeletion")
    user = ministack.create_user(f"user-{token_hex(6)}", allow(*actions))
    kms = ministack.client("kms")

    def key_arns() -> set[str]:
        return {key["KeyArn"] for key in kms.list_keys(Limit=1000)["Keys"]}

    async def scenario() -> None:
        async with open_kms(ministack.settings(), user) as backend:
            known = key_arns()
            error = await catch_error(backend.generate(new_alias(), KeyType.EC_P256))
            assert "does not permit kms:CreateAlias" in error.message
            (arn,) = key_arns() - known
            assert (arn in error.message) is not can_delete
            state = kms.describe_key(KeyId=arn)["KeyMetadata"]["KeyState"]
            assert state == ("PendingDeletion" if can_delete else "Enabled")

    asyncio.run(scenario())


def test_state_of_the_key_is_explained(ministack: MiniStack) -> None:
    kms = ministack.client("kms")

    async def scenario() -> None:
        async with open_kms(ministack.settings()) as backend:
            name, key = await backend.generate(new_alias(), KeyType.ED25519)
            for change, parameters, state in (
                (kms.disable_key, {}, "is disabled"),
                (kms.schedule_key_deletion, {"PendingWindowInDays": 7}, "is pending deletion"),
            ):
                change(KeyId=key.native_id, **parameters)
                for operation in (backend.describe(name), backend.sign(name, key.native_id, ED25519, b"m", None)):
                    error = await catch_error(operation)
                    assert isinstance(error, InvalidKeyError)
                    assert state in error.message
                    assert name in error.message

    asyncio.run(scenario())


def test_message_above_limit_names_an_alternative(ministack: MiniStack) -> None:
    async def scenario() -> None:
        async with open_kms(ministack.settings()) as backend:
            name, key = await backend.generate(new_alias(), KeyType.ED25519)
            assert key.capabilities.max_message_bytes == 4096
            assert key.capabilities.digests == ()
            error = await catch_error(backend.sign(name, key.native_id, ED25519, bytes(4097), None))
            assert isinstance(error, InvalidInputError)
            assert "4096" in error.message
            assert "EC_P256" in error.hint
            error = await catch_error(backend.sign(name, key.native_id, ED25519, bytes(32), HashName.SHA256))
            assert isinstance(error, InvalidKeyError)
            other_name, other_key = await backend.generate(new_alias(), KeyType.EC_P256)
            assert other_key.capabilities.max_message_bytes is None
            assert await backend.sign(other_name, other_key.native_id, ECDSA, bytes(1024 * 1024), None)

    asyncio.run(scenario())


def test_limit_of_signatures_is_reported_and_kept(ministack: MiniStack) -> None:
    async def scenario() -> None:
        async with open_kms(ministack.settings(signatures_per_second=0.01)) as backend:
            name, key = await backend.generate(new_alias(), KeyType.ED25519)
            assert key.capabilities.signatures_per_second == 0.01
            await backend.sign(name, key.native_id, ED25519, b"message", None)
            error = await catch_error(backend.sign(name, key.native_id, ED25519, b"message", None))
            assert isinstance(error, KeyProviderUnavailableError)
            assert "signatures_per_second" in error.message

    asyncio.run(scenario())


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[MiniStack]:
    """A server that the test may stop."""
    with run_ministack(tmp_path) as server:
        yield server


def test_backend_recovers_after_server_crash(own_server: MiniStack) -> None:
    async def scenario() -> None:
        async with open_kms(own_server.settings()) as backend:
            name, key = await backend.generate(new_alias(), KeyType.EC_P256)
            assert key.public_key is not None
            public_key = load_pem_public_key(key.public_key.encode())
            failures = 0
            failed = asyncio.Event()

            async def sign(number: int) -> None:
                nonlocal failures
                message = number.to_bytes(2, "big")
                while True:
                    try:
                        signature = await backend.sign(name, key.native_id, ECDSA, message, None)
                    except KeyProviderUnavailableError:
                        failures += 1
                        failed.set()
                        continue
                    assert verify(public_key, ECDSA, message, signature, prehashed=False)
                    return

            async def restart() -> None:
                await asyncio.to_thread(own_server.kill)
                await failed.wait()
                await asyncio.to_thread(own_server.start)

            # The emulator saves its state only when it is stopped.
            await asyncio.to_thread(own_server.stop)
            await asyncio.to_thread(own_server.start)
            await asyncio.gather(restart(), *(sign(number) for number in range(100)))
            assert failures

    asyncio.run(scenario())
