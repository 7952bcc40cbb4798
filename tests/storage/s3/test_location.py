"""Tests of the URL of artifacts."""

from __future__ import annotations

import pytest

from sealyard.model.errors import UsageError
from sealyard.storage.s3.location import S3Location


@pytest.mark.parametrize(
    ("url", "location", "key"),
    [
        ("s3://yard", S3Location(bucket="yard", prefix=""), "w1/inputs"),
        ("s3://yard/", S3Location(bucket="yard", prefix=""), "w1/inputs"),
        (
            "s3://yard/a/b?region=eu-central-1",
            S3Location(bucket="yard", prefix="a/b", region="eu-central-1"),
            "a/b/w1/inputs",
        ),
        (
            "s3://yard?endpoint=https%3A%2F%2Fstore.example%3A9000",
            S3Location(bucket="yard", prefix="", endpoint="https://store.example:9000"),
            "w1/inputs",
        ),
        (
            "s3://yard?endpoint=http://127.0.0.1:9000",
            S3Location(bucket="yard", prefix="", endpoint="http://127.0.0.1:9000"),
            "w1/inputs",
        ),
    ],
)
def test_url_is_parsed(url: str, location: S3Location, key: str) -> None:
    assert S3Location.parse(url) == location
    assert location.key("w1", "inputs") == key


@pytest.mark.parametrize(
    "url",
    [
        "",
        "yard",
        "https://yard",
        "s3://",
        "s3://Yard",
        "s3://yard/../other",
        "s3://yard/a//b",
        "s3://yard/a%0ab",
        "s3://yard#part",
        "s3://yard?region=eu central",
        "s3://yard?region",
        "s3://yard?endpoint=ftp://store.example",
        "s3://yard?endpoint=https://store.example/?x=1",
        "s3://[yard",
        "s3://yard/" + "x" * 600,
    ],
)
def test_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(UsageError, match="URL of the artifacts is invalid"):
        S3Location.parse(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://key:geheim@yard", "contains credentials"),
        ("s3://yard?secret_access_key=geheim", "unknown options"),
        ("s3://yard?endpoint=https://key:geheim@store.example", "is invalid"),
        ("s3://yard?endpoint=http://store.example", "not encrypted"),
    ],
)
def test_credentials_and_plain_connections_are_rejected(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        S3Location.parse(url)
    assert "geheim" not in f"{caught.value} {caught.value.hint}"
