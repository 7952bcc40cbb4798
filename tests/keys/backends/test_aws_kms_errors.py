"""Tests of the backend ``awskms`` with scripted responses: throttling, failures, and errors that quote secrets."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from sealyard.keys.backends.aws_kms.backend import AwsKmsBackend
from sealyard.keys.backends.aws_kms.rate_limit import SignatureLimiter
from sealyard.model.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    KeyProviderError,
    KeyProviderUnavailableError,
    NotFoundError,
    SealyardError,
)
from sealyard.model.provider_settings import ProviderSettings, Secrets
from tests.support.ports import ReservedPort
from tests.support.programs import require_module
from tests.support.scripted_kms import ScriptedAnswer, ScriptedKms, run_scripted_kms
from tests.support.tls_certificates import create_cert_pair

CREDENTIALS = Secrets(values={"access_key_id": b"AKIACANARY", "secret_access_key": b"a canary among secrets"})
ALIAS = "alias/gateway-sign"
SUCCESS = ScriptedAnswer(200)


@pytest.fixture(autouse=True)
def _require_sdk() -> None:
    require_module("boto3")


def settings_for(url: str) -> ProviderSettings:
    return ProviderSettings(name="cloud", provider="awskms", options={"region": "eu-central-1", "endpoint": url})


async def describe_with(script: ScriptedKms) -> SealyardError:
    """Open a backend and return the error of describing a key."""
    backend = await AwsKmsBackend.open(settings_for(script.url), CREDENTIALS)
    with pytest.raises(SealyardError) as caught:
        await backend.describe(ALIAS)
    await backend.close()
    return caught.value


@pytest.mark.parametrize(
    ("answer", "error_type", "words"),
    [
        (ScriptedAnswer(400, "ThrottlingException"), KeyProviderUnavailableError, "limits the rate"),
        (ScriptedAnswer(400, "KeyUnavailableException"), KeyProviderUnavailableError, "not available at the moment"),
        (ScriptedAnswer(500, "KMSInternalException"), KeyProviderUnavailableError, "not available at the moment"),
        (ScriptedAnswer(503, "Unknown"), KeyProviderUnavailableError, "not available at the moment"),
        (ScriptedAnswer(400, "NotFoundException"), NotFoundError, "does not exist"),
        (ScriptedAnswer(400, "AccessDeniedException"), InvalidKeyError, "does not permit kms:DescribeKey"),
        (ScriptedAnswer(400, "DisabledException"), InvalidKeyError, "is disabled"),
        (ScriptedAnswer(400, "KMSInvalidStateException"), InvalidKeyError, "pending deletion"),
        (ScriptedAnswer(400, "InvalidKeyUsageException"), InvalidKeyError, "another usage"),
        (ScriptedAnswer(400, "AlreadyExistsException"), AlreadyExistsError, "exists already"),
        (ScriptedAnswer(400, "ExpiredTokenException"), KeyProviderError, "does not accept the credentials"),
        (ScriptedAnswer(400, "LimitExceededException"), KeyProviderError, "LimitExceededException"),
    ],
)
def test_error_of_the_service_is_explained(answer: ScriptedAnswer, error_type: type[SealyardError], words: str) -> None:
    quoted = answer._replace(message="The canonical string is: x-amz-security-token:a-canary")
    with run_scripted_kms(SUCCESS, quoted) as script:
        error = asyncio.run(describe_with(script))
    assert type(error) is error_type
    assert words in error.message
    assert "cloud" in error.message
    assert error.hint
    assert "canary" not in str(error)


def test_throttled_request_is_repeated() -> None:
    throttled = ScriptedAnswer(400, "ThrottlingException")
    with run_scripted_kms(SUCCESS, throttled, throttled, ScriptedAnswer(400, "NotFoundException")) as script:
        assert type(asyncio.run(describe_with(script))) is NotFoundError
        assert script.requests == ["ListAliases", "DescribeKey", "DescribeKey", "DescribeKey"]


def test_denied_request_is_not_repeated() -> None:
    with run_scripted_kms(SUCCESS, ScriptedAnswer(400, "AccessDeniedException")) as script:
        asyncio.run(describe_with(script))
        assert script.requests == ["ListAliases", "DescribeKey"]


def test_key_that_is_not_a_key_is_refused() -> None:
    metadata = {"Arn": "arn:aws:kms:eu-central-1:000000000000:key/1", "KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"}
    with run_scripted_kms(SUCCESS, ScriptedAnswer(200, body={"KeyMetadata": metadata})) as script:
        assert "type or usage" in asyncio.run(describe_with(script)).message


def open_error(settings: ProviderSettings, secrets: Secrets = CREDENTIALS) -> KeyProviderError:
    with pytest.raises(KeyProviderError) as caught:
        asyncio.run(AwsKmsBackend.open(settings, secrets))
    assert "cloud" in caught.value.message
    assert "canary" not in str(caught.value)
    return caught.value


def test_unreachable_service_is_unavailable() -> None:
    with ReservedPort() as port:
        error = open_error(settings_for(f"http://127.0.0.1:{port.number}"))
    assert isinstance(error, KeyProviderUnavailableError)
    assert "is not reachable" in error.message


def test_untrusted_certificate_is_explained(tmp_path: Path) -> None:
    certificate, key = create_cert_pair(tmp_path, "server")
    with run_scripted_kms(SUCCESS, certificate=certificate, key=key) as script:
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
    "options", [{}, {"region": "Frankfurt"}, {"region": "eu-central-1", "signatures_per_second": 0}]
)
def test_invalid_options_are_explained(options: dict[str, object]) -> None:
    error = open_error(ProviderSettings(name="cloud", provider="awskms", options=options))
    assert "settings of the key provider cloud are not valid" in error.message


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
