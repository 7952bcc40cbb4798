"""Tests of ML-DSA keys in AWS KMS with stubbed responses, because the emulator has no such keys.

The stub of the AWS SDK compares the requests with the expected ones, and checks requests and responses against the
model of the service that the SDK contains. The signatures are real ones, made here. What only the service can show,
for example that it signs with an empty context, is not tested; the worker verifies each signature before it is used.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from sealyard.crypto.signatures import verify
from sealyard.keys.backends.aws_kms.backend import AwsKmsBackend
from sealyard.keys.backends.aws_kms.client import KmsClient
from sealyard.keys.provider_options import AwsKmsOptions
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidInputError, InvalidKeyError
from sealyard.model.provider_settings import ProviderSettings
from tests.support.key_files import private_key
from tests.support.programs import require_module

REGION = "eu-central-1"
PREFIX = f"arn:aws:kms:{REGION}:111122223333"
KEY_ARN = f"{PREFIX}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ALIAS_ARN = f"{PREFIX}:alias/gateway-sign"
MESSAGE = bytes(4096)
KINDS = [
    (KeyType.ML_DSA_44, SigningAlgorithm.ML_DSA_44),
    (KeyType.ML_DSA_65, SigningAlgorithm.ML_DSA_65),
    (KeyType.ML_DSA_87, SigningAlgorithm.ML_DSA_87),
]


def key_of(kind: KeyType) -> mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey:
    key = private_key(kind)
    assert isinstance(key, mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey)
    return key


def metadata_of(kind: KeyType) -> dict[str, Any]:
    return {
        "KeyId": KEY_ARN.rpartition("/")[2],
        "Arn": KEY_ARN,
        "KeySpec": kind.value,
        "KeyUsage": "SIGN_VERIFY",
        "KeyState": "Enabled",
        "KeyManager": "CUSTOMER",
        "Origin": "AWS_KMS",
        "SigningAlgorithms": ["ML_DSA_SHAKE_256"],
    }


@pytest.fixture
def sdk_client() -> Any:
    require_module("boto3")
    import boto3

    return boto3.client("kms", region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test")


def backend_of(sdk_client: Any) -> AwsKmsBackend:
    settings = ProviderSettings(name="cloud", provider="awskms")
    return AwsKmsBackend(KmsClient(sdk_client, settings, REGION), AwsKmsOptions(region=REGION))


@pytest.mark.parametrize(("kind", "algorithm"), KINDS)
def test_ml_dsa_key_is_generated_and_signs(sdk_client: Any, kind: KeyType, algorithm: SigningAlgorithm) -> None:
    from botocore.stub import Stubber

    key, stub = key_of(kind), Stubber(sdk_client)
    public_der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    stub.add_client_error("describe_key", "NotFoundException", expected_params={"KeyId": "alias/gateway-sign"})
    stub.add_response(
        "create_key",
        {"KeyMetadata": metadata_of(kind)},
        {"KeySpec": kind.value, "KeyUsage": "SIGN_VERIFY", "Description": "Sealyard alias/gateway-sign"},
    )
    stub.add_response("create_alias", {}, {"AliasName": "alias/gateway-sign", "TargetKeyId": KEY_ARN})
    stub.add_response("get_public_key", {"KeyId": KEY_ARN, "PublicKey": public_der}, {"KeyId": KEY_ARN})
    signing_request = {
        "KeyId": KEY_ARN,
        "Message": MESSAGE,
        "MessageType": "RAW",
        "SigningAlgorithm": "ML_DSA_SHAKE_256",
    }
    stub.add_response("sign", {"KeyId": KEY_ARN, "Signature": key.sign(MESSAGE)}, signing_request)

    async def scenario() -> None:
        backend = backend_of(sdk_client)
        name, description = await backend.generate("alias/gateway-sign", kind)
        assert (name, description.native_id, description.kind) == (ALIAS_ARN, KEY_ARN, kind)
        capabilities = description.capabilities
        assert (capabilities.algorithms, capabilities.digests) == ((algorithm,), ())
        assert capabilities.max_message_bytes == len(MESSAGE)
        assert description.public_key is not None
        signature = await backend.sign(name, KEY_ARN, algorithm, MESSAGE, None)
        public_key = load_pem_public_key(description.public_key.encode())
        assert verify(public_key, algorithm, MESSAGE, signature, prehashed=False)
        with pytest.raises(InvalidInputError, match="at most 4096"):
            await backend.sign(name, KEY_ARN, algorithm, bytes(4097), None)
        with pytest.raises(InvalidKeyError, match="signs the message"):
            await backend.sign(name, KEY_ARN, algorithm, bytes(32), HashName.SHA256)

    with stub:
        asyncio.run(scenario())
        stub.assert_no_pending_responses()


def test_names_are_those_of_the_service_model(sdk_client: Any) -> None:
    """The stub does not check the values of enumerations."""
    model = sdk_client.meta.service_model
    for kind, _ in KINDS:
        assert kind.value in model.shape_for("KeySpec").enum
    assert "ML_DSA_SHAKE_256" in model.shape_for("SigningAlgorithmSpec").enum
    assert "RAW" in model.shape_for("MessageType").enum
    assert model.shape_for("SignRequest").members["Message"].metadata["max"] == len(MESSAGE)
