"""Tests of key URIs: canonical forms, rejected forms, and that no error message reveals a PIN."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sealyard.model.errors import UsageError
from sealyard.model.key_uris import MAX_URI_LENGTH, parse_certificate_reference, parse_key_uri
from sealyard.model.pkcs11_uris import Pkcs11Name, parse_pkcs11_name

PIN = "correct-horse-1234"
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8)
NAMES = st.builds(
    Pkcs11Name,
    token=TEXTS,
    manufacturer=st.none() | TEXTS,
    model=st.none() | TEXTS,
    serial=st.none() | TEXTS,
    object=TEXTS,
    id=st.none() | st.binary(min_size=1, max_size=8),
)


@pytest.mark.parametrize(
    "text",
    [
        "local:gateway-sign",
        "local:0.x_y-z",
        "pkcs11:token=seal;object=gateway-sign",
        "pkcs11:token=seal;object=gateway-sign;id=%01",
        "pkcs11:token=seal;id=%00%FF",
        "vault:transit/gateway-sign",
        "awskms:arn:aws:kms:eu-central-1:111122223333:key/1234abcd",
    ],
)
def test_canonical_key_uri_round_trips(text: str) -> None:
    assert str(parse_key_uri(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "local", "local:", ":a", "local:A", "local:.a", "local:a/b", "LOCAL:a", "local:a\n", "vault:", "vault:a b"],
)
def test_invalid_key_uri_is_rejected(text: str) -> None:
    with pytest.raises(UsageError):
        parse_key_uri(text)


@given(st.text() | st.text().map("local:{}".format) | st.text().map("pkcs11:token=a;object={}".format))
def test_parsed_key_uri_is_canonical(text: str) -> None:
    try:
        uri = parse_key_uri(text)
    except UsageError:
        return
    assert parse_key_uri(str(uri)) == uri
    assert uri.scheme == "pkcs11" or str(uri) == text


def test_key_uri_has_limited_length() -> None:
    prefix = "pkcs11:token=seal;object="
    longest = prefix + "a" * (MAX_URI_LENGTH - len(prefix))
    assert str(parse_key_uri(longest)) == longest
    for text in (longest + "a", longest[:-1] + "@", "vault:" + "a" * MAX_URI_LENGTH):
        with pytest.raises(UsageError, match="at most 512"):
            parse_key_uri(text)


@given(NAMES)
@example(Pkcs11Name(token="a;b=c?d", object="%41", id=b"A"))
def test_pkcs11_name_round_trips(name: Pkcs11Name) -> None:
    assert parse_pkcs11_name(str(name)) == name


@given(NAMES)
def test_order_and_encoding_do_not_matter(name: Pkcs11Name) -> None:
    attributes = [part.split("=") for part in str(name).split(";")]
    encoded = [f"{attribute}={encode_all(value)}" for attribute, value in reversed(attributes)]
    assert parse_pkcs11_name(";".join([*encoded, "type=private"])) == name


def encode_all(value: str) -> str:
    """Percent-encode every byte of a value, in lowercase."""
    return "".join(f"%{byte:02x}" for byte in unquote_to_bytes(value))


def test_uri_of_p11tool_is_accepted() -> None:
    text = (
        "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=8d1f1c4b;token=seal;id=%01"
        ";object=gateway%20sign;type=private"
    )
    assert str(parse_key_uri(text)) == (
        "pkcs11:token=seal;manufacturer=SoftHSM%20project;model=SoftHSM%20v2;serial=8d1f1c4b"
        ";object=gateway%20sign;id=%01"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("token=seal;object=a?pin-value=" + PIN, "pin-value"),
        ("token=seal;object=a?pin-source=file:/etc/" + PIN, "pin-source"),
        ("token=seal;object=a;pin-value=" + PIN, "pin-value"),
        ("token=seal;object=a?module-path=/usr/lib/" + PIN, "module-path"),
        ("token=seal;object=a?module-name=" + PIN, "module-name"),
        ("token=seal;object=a?other&pin-value=" + PIN, "can only have"),
        ("token=seal;object=a;slot-id=" + PIN, "slots"),
        ("token=seal;object=a;library-version=" + PIN, "libraries"),
        ("token=seal;object=a;x-pin=" + PIN, "can only have"),
        ("token=seal;object=a;object=" + PIN, "only once"),
        ("token=seal;object=a;type=" + PIN, "type"),
        ("token=seal", "needs its token"),
        ("object=" + PIN, "needs its token"),
        ("token=;object=" + PIN, "token .* is empty"),
        ("token=seal;object=ä" + PIN, "must be written as"),
        ("token=seal;object=%0_" + PIN, "must be written as"),
        ("token=seal;object=%FF" + PIN, "UTF-8"),
        ("token=seal;object=%0A" + PIN, "control characters"),
        (PIN, "can only have"),
        ("", "can only have"),
    ],
)
def test_pkcs11_uri_error_omits_values(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_key_uri("pkcs11:" + name)
    assert PIN not in str(caught.value)


@given(st.text(min_size=5))
def test_rejected_names_are_not_quoted(text: str) -> None:
    secret = f"<{text}>"
    for prefix in ("pkcs11:", "vault: ", "PKCS11:", ""):
        with pytest.raises(UsageError) as caught:
            parse_key_uri(prefix + secret)
        assert secret not in str(caught.value)


@pytest.mark.parametrize("text", ["x509:" + "ab" * 32, "x509:" + ":".join(["AB"] * 32)])
def test_certificate_reference_has_a_fingerprint(text: str) -> None:
    assert parse_certificate_reference(text) == "ab" * 32


@pytest.mark.parametrize("text", ["local:gateway", "ab" * 32, ""])
def test_other_reference_is_no_certificate(text: str) -> None:
    assert parse_certificate_reference(text) is None


@pytest.mark.parametrize("text", ["x509:", "x509:ab", "x509:" + "xy" * 32, "x509:" + "ab" * 33])
def test_invalid_fingerprint_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="SHA-256 fingerprint"):
        parse_certificate_reference(text)
