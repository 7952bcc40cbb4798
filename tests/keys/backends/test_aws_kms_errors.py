"""Tests of the backend ``awskms`` with scripted responses: throttling, failures, and errors that quote secrets."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from pathlib import Path

import pytest

from sealyard.keys.backends.aws_kms import client
from sealyard.keys.backends.aws_kms.backend import AwsKmsBackend
from sealyard.keys.backends.aws_kms.rate_limit import SignatureLimiter
from sealyard.model.algorithms import KeyType
from sealyard.model.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    KeyProviderError,
    KeyProviderUnavailableError,
    NotFoundError,
    SealyardError,
)
from sealyard.model.provider_settings import ProviderSettings, Secrets
from tests.support.backend_access import opening_error
from tests.support.ports import ReservedPort
from tests.support.programs import require_module
from tests.support.scripted_service import ScriptedResponse, ScriptedService, kms_failure, run_scripted_service
from tests.support.tls_certificates import create_cert_pair

CREDENTIALS = Secrets(values={"access_key_id": b"AKIA-a-canary", "secret_access_key": b"a-canary-among-secrets"})
ALIAS = "alias/gateway-sign"
SUCCESS = ScriptedResponse(200)


@pytest.fixture(autouse=True)
def _require_sdk() -> None:
    require_module("boto3")


def settings_for(url: str) -> ProviderSettings:
    return ProviderSettings(name="cloud", provider="awskms", options={"region": "eu-central-1", "endpoint": url})


async def describe_with(script: ScriptedService) -> SealyardError:
    """Open a backend and return the error of describing a key."""
    backend = await AwsKmsBackend.open(settings_for(script.url), CREDENTIALS)
    with pytest.raises(SealyardError) as caught:
        await backend.describe(ALIAS)
    await backend.close()
    return caught.value


@pytest.mark.parametrize(
    ("status", "code", "error_type", "words"),
    [
        (400, "ThrottlingException", KeyProviderUnavailableError, "limits the rate"),
        (400, "KeyUnavailableException", KeyProviderUnavailableError, "not available at the moment"),
        (500, "KMSInternalException", KeyProviderUnavailableError, "not available at the moment"),
        (503, "Unknown", KeyProviderUnavailableError, "not available at the moment"),
        (400, "NotFoundException", NotFoundError, "does not exist"),
        (400, "AccessDeniedException", InvalidKeyError, "does not permit kms:DescribeKey"),
        (400, "DisabledException", InvalidKeyError, "is disabled"),
        (400, "KMSInvalidStateException", InvalidKeyError, "pending deletion"),
        (400, "InvalidKeyUsageException", InvalidKeyError, "another usage"),
        (400, "AlreadyExistsException", AlreadyExistsError, "exists already"),
        (400, "ExpiredTokenException", KeyProviderError, "does not accept the credentials"),
        (400, "LimitExceededException", KeyProviderError, "LimitExceededException"),
    ],
)
def test_error_of_the_service_is_explained(status: int, code: str, error_type: type[SealyardError], words: str) -> None:
    """The message of AWS can contain a session token, so it is not repeated."""
    response = kms_failure(status, code, "The canonical string is: x-amz-security-token:a-canary")
    with run_scripted_service(SUCCESS, response) as script:
        error = asyncio.run(describe_with(script))
    assert type(error) is error_type
    assert words in error.message
    assert "cloud" in error.message
    assert error.hint
    assert "canary" not in str(error)


def test_throttled_request_is_repeated() -> None:
    throttled = kms_failure(400, "ThrottlingException")
    with run_scripted_service(SUCCESS, throttled, throttled, kms_failure(400, "NotFoundException")) as script:
        assert type(asyncio.run(describe_with(script))) is NotFoundError
        assert script.requests == ["ListAliases", "DescribeKey", "DescribeKey", "DescribeKey"]


def test_denied_request_is_not_repeated() -> None:
    with run_scripted_service(SUCCESS, kms_failure(400, "AccessDeniedException")) as script:
        asyncio.run(describe_with(script))
        assert script.requests == ["ListAliases", "DescribeKey"]


def test_key_that_is_not_a_key_is_refused() -> None:
    metadata = {"Arn": "arn:aws:kms:eu-central-1:000000000000:key/1", "KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"}
    with run_scripted_service(SUCCESS, ScriptedResponse(200, json.dumps({"KeyMetadata": metadata}))) as script:
        assert "type or usage" in asyncio.run(describe_with(script)).message


NEW_KEY = {
    "Arn": "arn:aws:kms:eu-central-1:111122223333:key/new",
    "KeySpec": "SYMMETRIC_DEFAULT",
    "KeyUsage": "ENCRYPT_DECRYPT",
    "KeyState": "Enabled",
}
ALIAS_ARN = f"arn:aws:kms:eu-central-1:111122223333:{ALIAS}"


async def generate_with(script: ScriptedService) -> str:
    backend = await AwsKmsBackend.open(settings_for(script.url), CREDENTIALS)
    try:
        return (await backend.generate(ALIAS, KeyType.AES_256))[0]
    finally:
        await backend.close()


def respond_with_key(arn: str) -> ScriptedResponse:
    return ScriptedResponse(200, json.dumps({"KeyMetadata": {**NEW_KEY, "Arn": arn}}))


def test_alias_whose_response_was_lost_is_accepted() -> None:
    """The SDK sends the request to create the alias again, and the service refuses the second one."""
    not_found, exists = kms_failure(400, "NotFoundException"), kms_failure(400, "AlreadyExistsException")
    key = respond_with_key(NEW_KEY["Arn"])
    with run_scripted_service(SUCCESS, not_found, key, exists, key) as script:
        assert asyncio.run(generate_with(script)) == ALIAS_ARN
        assert script.requests[-2:] == ["CreateAlias", "DescribeKey"]


def test_key_is_deleted_if_another_one_gets_its_alias() -> None:
    not_found, exists = kms_failure(400, "NotFoundException"), kms_failure(400, "AlreadyExistsException")
    key, other_key = respond_with_key(NEW_KEY["Arn"]), respond_with_key("arn:aws:kms:eu-central-1:111122223333:key/1")
    with run_scripted_service(SUCCESS, not_found, key, exists, other_key, SUCCESS) as script:
        with pytest.raises(AlreadyExistsError):
            asyncio.run(generate_with(script))
        assert script.requests[-1] == "ScheduleKeyDeletion"


def test_key_whose_alias_is_uncertain_is_kept_and_named() -> None:
    not_found, failure = kms_failure(400, "NotFoundException"), kms_failure(500, "KMSInternalException")
    with run_scripted_service(SUCCESS, not_found, respond_with_key(NEW_KEY["Arn"]), failure) as script:
        with pytest.raises(KeyProviderUnavailableError, match=r"The new key .*key/new may have no alias"):
            asyncio.run(generate_with(script))
        assert "ScheduleKeyDeletion" not in script.requests


def test_list_has_the_keys_of_all_pages() -> None:
    arns = [f"arn:aws:kms:eu-central-1:111122223333:key/{number}" for number in range(2)]
    pages = [
        ScriptedResponse(200, json.dumps({"Keys": [{"KeyId": arns[0][-1], "KeyArn": arns[0]}], "NextMarker": "more"})),
        ScriptedResponse(200, json.dumps({"Keys": [{"KeyId": arns[1][-1], "KeyArn": arns[1]}]})),
    ]

    async def list_names(script: ScriptedService) -> list[str]:
        backend = await AwsKmsBackend.open(settings_for(script.url), CREDENTIALS)
        return [key.name for key in await backend.list_keys()]

    with run_scripted_service(SUCCESS, SUCCESS, *pages, respond_with_key(arns[0])) as script:
        assert asyncio.run(list_names(script)) == arns
        assert script.requests[1:4] == ["ListAliases", "ListKeys", "ListKeys"]


def open_error(settings: ProviderSettings) -> KeyProviderError:
    return opening_error(AwsKmsBackend, settings, CREDENTIALS)


def test_unreachable_service_is_unavailable() -> None:
    with ReservedPort() as port:
        error = open_error(settings_for(f"http://127.0.0.1:{port.number}"))
    assert isinstance(error, KeyProviderUnavailableError)
    assert "is not reachable" in error.message


def test_service_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "READ_TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        error = open_error(settings_for(f"http://127.0.0.1:{server.getsockname()[1]}"))
    assert isinstance(error, KeyProviderUnavailableError)
    assert "does not answer in time" in error.message


def test_untrusted_certificate_is_explained(tmp_path: Path) -> None:
    certificate, key = create_cert_pair(tmp_path, "server")
    with run_scripted_service(SUCCESS, certificate=certificate, key=key) as script:
        error = open_error(settings_for(script.url))
    assert not isinstance(error, KeyProviderUnavailableError)
    assert "is not trusted" in error.message


@pytest.mark.parametrize("url", ["http://192.0.2.1", "https://me:password@kms.example", "https://kms.example/?a=b"])
def test_unsafe_endpoint_is_refused(url: str) -> None:
    error = open_error(settings_for(url))
    assert "password" not in str(error)


def test_missing_sdk_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    error = open_error(settings_for("http://127.0.0.1:1"))
    assert "not installed" in error.message
    assert "sealyard[aws]" in error.hint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "The key provider cloud needs the option region."),
        ({"region": "Frankfurt"}, "The option region of the key provider cloud is not valid: it has another form."),
        (
            {"region": "eu-central-1", "signatures_per_second": 0},
            "The option signatures_per_second of the key provider cloud is not valid: expected a number > 0.0.",
        ),
    ],
)
def test_invalid_options_are_explained(options: dict[str, object], message: str) -> None:
    error = open_error(ProviderSettings(name="cloud", provider="awskms", options=options))
    assert error.message == message


def test_limiter_permits_the_signatures_of_a_second_at_once() -> None:
    now = 100.0
    limiter = SignatureLimiter(4, lambda: now)

    async def scenario() -> None:
        nonlocal now
        for _ in range(4):
            await asyncio.wait_for(limiter.acquire("key"), 0.1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(limiter.acquire("key"), 0.01)
        now += 10
        await asyncio.wait_for(limiter.acquire("key"), 0.1)

    asyncio.run(scenario())


def test_limiter_without_limit_permits_everything() -> None:
    limiter = SignatureLimiter(None, lambda: 100.0)

    async def scenario() -> None:
        for _ in range(1000):
            await limiter.acquire("key")

    asyncio.run(asyncio.wait_for(scenario(), 10))
