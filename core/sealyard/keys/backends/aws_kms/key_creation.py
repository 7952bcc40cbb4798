"""Create keys in AWS KMS, and give them an alias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sealyard.keys.backends.aws_kms.client import KmsClient
from sealyard.keys.backends.aws_kms.kms_keys import KEY_SPECS, KmsKey, key_usage, read_kms_key
from sealyard.keys.backends.aws_kms.names import KmsName, format_uri
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import (
    InvalidKeyError,
    KeyProviderError,
    KeyProviderUnavailableError,
    NotFoundError,
    SealyardError,
)

DELETION_DAYS = 7
"""After how many days a key is deleted that could not be given its alias. KMS permits no less."""


async def create_key(
    client: KmsClient, alias: KmsName, kind: KeyType, properties: Mapping[str, Any] | None = None
) -> KmsKey:
    """Create a key that is described by its future alias. ``properties``: further parameters of the request."""
    uri = format_uri(alias.text)
    answer = await client.call(
        "create_key",
        "kms:CreateKey",
        uri,
        KeySpec=KEY_SPECS[kind],
        KeyUsage=key_usage(kind),
        Description=f"Sealyard {alias.resource}",
        **(properties or {}),
    )
    key = read_kms_key(answer["KeyMetadata"])
    if key is None:
        raise KeyProviderError(f"{client.service} created another key than requested for {uri}.")
    return key


async def assign_alias(client: KmsClient, operation: str, permission: str, alias: KmsName, key: KmsKey) -> None:
    """Give the alias to a new key, which is deleted if that is refused.

    The key is kept if it is not known whether the alias refers to it.
    """
    uri = format_uri(alias.text)
    try:
        await client.call(operation, permission, uri, AliasName=alias.resource, TargetKeyId=key.arn)
    except KeyProviderUnavailableError as error:
        raise _new_key_error(error, key, "may have no alias", "Delete it in AWS KMS if it has none.") from None
    except SealyardError as error:
        # The SDK repeats a request whose response was lost, and the second one is refused.
        if not await _refers_to(client, alias, key):
            await _delete_key(client, key, error)
            raise


async def _refers_to(client: KmsClient, alias: KmsName, key: KmsKey) -> bool:
    try:
        answer = await client.call("describe_key", "kms:DescribeKey", format_uri(alias.text), KeyId=alias.text)
    except (NotFoundError, InvalidKeyError):
        return False
    return bool(answer["KeyMetadata"]["Arn"] == key.arn)


async def _delete_key(client: KmsClient, key: KmsKey, cause: SealyardError) -> None:
    """Schedule the deletion of a new key. Raises ``cause`` with the ARN of the key if this is not possible."""
    try:
        await client.call(
            "schedule_key_deletion",
            "kms:ScheduleKeyDeletion",
            format_uri(key.arn),
            KeyId=key.arn,
            PendingWindowInDays=DELETION_DAYS,
        )
    except SealyardError:
        raise _new_key_error(cause, key, "has no alias", "Delete it in AWS KMS.") from None


def _new_key_error(cause: SealyardError, key: KmsKey, state: str, hint: str) -> SealyardError:
    """Return ``cause`` with the ARN of a new key that is not used."""
    return type(cause)(f"{cause.message} The new key {key.arn} {state}.", f"{hint} {cause.hint}".strip())
