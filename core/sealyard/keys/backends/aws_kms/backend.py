"""The key backend ``awskms``: keys in one region of AWS KMS.

A key is named by its ARN or by an alias (``awskms:alias/gateway-sign``), whose canonical form is the ARN of the alias.
KMS has no versions of asymmetric keys: the versions of an alias are the keys that it has referred to, and rotation
moves it to a new key. A key that is named by its own ARN has one version.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from sealyard.crypto.algorithms import SignatureSpec
from sealyard.crypto.certificates import encode_public_key
from sealyard.keys.backends.aws_kms.client import KmsClient, create_client
from sealyard.keys.backends.aws_kms.envelope import (
    encryption_context,
    open_envelope,
    read_encrypted_data_key,
    seal_envelope,
)
from sealyard.keys.backends.aws_kms.key_creation import assign_alias, create_key
from sealyard.keys.backends.aws_kms.kms_keys import (
    KEY_SPECS,
    MAX_MESSAGE_BYTES,
    KmsKey,
    read_kms_key,
    signing_algorithm,
)
from sealyard.keys.backends.aws_kms.names import KmsName, format_uri, parse_kms_name
from sealyard.keys.backends.aws_kms.rate_limit import SignatureLimiter
from sealyard.keys.backends.key_lists import list_usable_keys
from sealyard.keys.backends.signing_requests import check_signing_request
from sealyard.keys.provider_options import AwsKmsOptions
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey, ListedKey
from sealyard.model.errors import (
    AlreadyExistsError,
    InvalidInputError,
    InvalidKeyError,
    KeyProviderError,
    NotFoundError,
)
from sealyard.model.provider_settings import ProviderSettings, Secrets


class AwsKmsBackend:
    """Keys in one region of AWS KMS."""

    def __init__(self, client: KmsClient, options: AwsKmsOptions) -> None:
        self._client = client
        self._options = options
        self._limiter = SignatureLimiter(options.signatures_per_second)
        self._known_names: set[str] = set()
        self._keys: dict[str, KmsKey] = {}
        """Keys by ARN. Their types and usages never change."""

    @classmethod
    async def open(cls, settings: ProviderSettings, secrets: Secrets) -> Self:
        """Check the credentials; see :class:`KeyBackendFactory`."""
        options = settings.parse_options(AwsKmsOptions)
        backend = cls(await asyncio.to_thread(create_client, settings, options, secrets), options)
        try:
            await backend.probe()
        except BaseException:
            await backend.close()
            raise
        return backend

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)

    async def probe(self) -> None:
        try:
            await self._client.call("list_aliases", "kms:ListAliases", "aliases", Limit=1)
        except InvalidKeyError:
            # The credentials are valid, but do not permit the list, which is not needed to sign.
            return

    async def list_keys(self) -> tuple[ListedKey, ...]:
        """Return the aliases, and the keys without an alias. Keys that may not be described are omitted."""
        aliases = await self._client.list_all("list_aliases", "kms:ListAliases", "Aliases")
        keys = await self._client.list_all("list_keys", "kms:ListKeys", "Keys")
        targets = {alias["TargetKeyId"] for alias in aliases if alias.get("TargetKeyId")}
        labels = {
            alias["AliasArn"]: alias["AliasName"].removeprefix("alias/")
            for alias in aliases
            if alias.get("TargetKeyId") and not alias["AliasName"].startswith("alias/aws/")
        }
        labels |= {key["KeyArn"]: "" for key in keys if key["KeyId"] not in targets}

        async def read_kind(name: str) -> KeyType:
            key = await self._read(name)
            key.require_enabled(name)
            return key.kind

        return await list_usable_keys(labels, read_kind)

    async def resolve(self, name: str) -> str:
        parsed = self._parse(name)
        key = await self._read(name)
        return parsed.to_arn(key.arn) if parsed.is_alias else key.arn

    async def describe(self, name: str) -> BackendKey:
        key = await self._read(name)
        key.require_enabled(format_uri(name))
        return await self._describe(name, key)

    async def generate(self, name: str, kind: KeyType) -> tuple[str, BackendKey]:
        parsed, uri = self._parse(name), format_uri(name)
        if not parsed.is_alias or parsed.is_reserved:
            raise InvalidKeyError(
                f"A new key in {self._client.service} needs an alias.", "Use a name like alias/gateway-sign."
            )
        if kind not in KEY_SPECS:
            raise InvalidKeyError(
                f"{self._client.service} does not generate keys of type {kind}.", f"Use one of {', '.join(KEY_SPECS)}."
            )
        if await self._has_alias(name):
            raise AlreadyExistsError(f"{uri} exists already.", "Choose another name, or register it.")
        key = await create_key(self._client, parsed, kind)
        canonical_name = parsed.to_arn(key.arn)
        await assign_alias(self._client, "create_alias", "kms:CreateAlias", parsed, key)
        self._keys[key.arn] = key
        self._known_names.add(canonical_name)
        return canonical_name, await self._describe(canonical_name, key)

    async def rotate(self, name: str) -> BackendKey:
        """Create a key with the type and the policy of the current one, and move the alias to it."""
        parsed, uri = self._parse(name), format_uri(name)
        key = await self._read(name)
        if not parsed.is_alias:
            raise InvalidKeyError(
                f"The key {uri} is named by its ARN, so it cannot be rotated: AWS KMS has no versions of such keys.",
                "Register the key by an alias, which can be moved to a new key.",
            )
        if key.origin != "AWS_KMS":
            raise InvalidKeyError(
                f"The key material of {uri} was not generated by AWS KMS, so that it cannot be rotated here.",
                "Create the next key, move the alias to it, and register the alias again.",
            )
        parameters = {"KeyId": key.arn, "PolicyName": "default"}
        answer = await self._client.call("get_key_policy", "kms:GetKeyPolicy", uri, **parameters)
        properties = {"Policy": answer["Policy"], "MultiRegion": key.is_multi_region}
        next_key = await create_key(self._client, parsed, key.kind, properties)
        await assign_alias(self._client, "update_alias", "kms:UpdateAlias", parsed, next_key)
        self._keys[next_key.arn] = next_key
        return await self._describe(name, next_key)

    async def sign(
        self, name: str, native_id: str, algorithm: SigningAlgorithm, data: bytes, digest: HashName | None
    ) -> bytes:
        key, uri = await self._find_version(name, native_id), format_uri(name)
        spec = check_signing_request(uri, key.kind, algorithm, data, digest)
        if spec.hash is None:
            _check_message_size(uri, algorithm, data)
        await self._limiter.acquire(uri)
        answer = await self._client.call(
            "sign",
            "kms:Sign",
            uri,
            KeyId=key.arn,
            Message=_message(spec, data, digest),
            MessageType="RAW" if spec.hash is None else "DIGEST",
            SigningAlgorithm=signing_algorithm(spec),
        )
        return bytes(answer["Signature"])

    async def wrap(self, name: str, native_id: str, secret: bytes, associated_data: bytes) -> bytes:
        key, uri = await self._find_wrapping_key(name, native_id), format_uri(name)
        answer = await self._client.call(
            "generate_data_key",
            "kms:GenerateDataKey",
            uri,
            KeyId=key.arn,
            KeySpec="AES_256",
            EncryptionContext=encryption_context(associated_data),
        )
        return seal_envelope(answer["Plaintext"], answer["CiphertextBlob"], secret, associated_data)

    async def unwrap(self, name: str, native_id: str, wrapped: bytes, associated_data: bytes) -> bytes:
        key, uri = await self._find_wrapping_key(name, native_id), format_uri(name)
        encrypted_data_key = read_encrypted_data_key(uri, wrapped)
        answer = await self._client.call(
            "decrypt",
            "kms:Decrypt",
            uri,
            KeyId=key.arn,
            CiphertextBlob=encrypted_data_key,
            EncryptionContext=encryption_context(associated_data),
        )
        return open_envelope(answer["Plaintext"], encrypted_data_key, wrapped, associated_data)

    def _parse(self, name: str) -> KmsName:
        """Return the parsed name. Raises an error if it is not a name of a key that the settings are for."""
        parsed = parse_kms_name(name)
        if parsed is None:
            raise NotFoundError(
                f"{format_uri(name)[:200]} is not the name of a key in AWS KMS.",
                "Use an alias (awskms:alias/gateway-sign) or an ARN (awskms:arn:aws:kms:…).",
            )
        for option, value, expected in (
            ("region", parsed.region, self._options.region),
            ("account", parsed.account, self._options.account),
        ):
            if value and expected and value != expected:
                raise InvalidKeyError(
                    f"The key {format_uri(name)} is in the {option} {value}, but {self._client.service} is for "
                    f"{expected}.",
                    f"Add a section with the {option} {value} to the worker settings.",
                )
        return parsed

    async def _read(self, name: str) -> KmsKey:
        """Return the key, also if it is not enabled. Raises :class:`InvalidKeyError` if its type is not supported."""
        self._parse(name)
        uri = format_uri(name)
        answer = await self._client.call("describe_key", "kms:DescribeKey", uri, KeyId=name)
        key = read_kms_key(answer["KeyMetadata"])
        if key is None:
            raise InvalidKeyError(
                f"The key {uri} is managed by AWS, or has a type or usage that Sealyard does not support.",
                f"Use a customer managed key: one of {', '.join(KEY_SPECS.values())}.",
            )
        self._parse(key.arn)
        self._keys[key.arn] = key
        self._known_names.add(name)
        return key

    async def _has_alias(self, name: str) -> bool:
        try:
            await self._client.call("describe_key", "kms:DescribeKey", format_uri(name), KeyId=name)
        except NotFoundError:
            return False
        return True

    async def _find_version(self, name: str, native_id: str) -> KmsKey:
        """Return the key with the ARN ``native_id``, which is read only if it is not known yet."""
        if name not in self._known_names:
            await self._read(name)
        parsed = self._parse(name)
        version = parse_kms_name(native_id)
        if version is None or version.is_alias or not (parsed.is_alias or native_id == name):
            raise NotFoundError(f"The key {format_uri(name)} has no version {native_id[:100]!r}.")
        return self._keys.get(native_id) or await self._read(native_id)

    async def _find_wrapping_key(self, name: str, native_id: str) -> KmsKey:
        key = await self._find_version(name, native_id)
        if key.kind is not KeyType.AES_256:
            raise InvalidKeyError(
                f"The key {format_uri(name)} has the type {key.kind}, which cannot wrap secrets.",
                f"Use a key of type {KeyType.AES_256}.",
            )
        return key

    async def _describe(self, name: str, key: KmsKey) -> BackendKey:
        return BackendKey(
            native_id=key.arn,
            kind=key.kind,
            public_key=None if key.kind.symmetric else await self._read_public_key(name, key),
            capabilities=key.describe_capabilities(
                can_rotate=self._parse(name).is_alias, signatures_per_second=self._options.signatures_per_second
            ),
        )

    async def _read_public_key(self, name: str, key: KmsKey) -> str:
        answer = await self._client.call("get_public_key", "kms:GetPublicKey", format_uri(name), KeyId=key.arn)
        try:
            public_key = load_der_public_key(answer["PublicKey"])
        except (ValueError, UnsupportedAlgorithm):
            raise KeyProviderError(f"The public key of {format_uri(name)} cannot be read.") from None
        return encode_public_key(public_key)


def _check_message_size(uri: str, algorithm: SigningAlgorithm, data: bytes) -> None:
    if len(data) > MAX_MESSAGE_BYTES:
        raise InvalidInputError(
            f"AWS KMS signs messages of at most {MAX_MESSAGE_BYTES} bytes with {algorithm}; this one has {len(data)} "
            f"(key {uri}).",
            f"Use a key of type {KeyType.EC_P256} or an RSA key, which sign the digest.",
        )


def _message(spec: SignatureSpec, data: bytes, digest: HashName | None) -> bytes:
    """Return what KMS signs. Messages are hashed here, so that requests are the same for messages of every size."""
    if digest is not None or spec.hash is None:
        return data
    return hashlib.new(spec.hash, data).digest()
