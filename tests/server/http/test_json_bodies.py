"""Tests of JSON request bodies."""

from __future__ import annotations

import codecs
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import UsageError
from sealyard.model.policy import Policy
from sealyard.server.api.wire import DecisionBody, SigningBody
from sealyard.server.api.wire_devices import DeviceBody
from sealyard.server.http.json_bodies import decode_json, normalize_body

DEVICE = {
    "name": "gateway",
    "encryptionKeys": [{"algorithm": "AES256_CBC_PKCS7_PAD"}],
    "signingKeys": [{"algorithm": "ED25519"}],
}


@pytest.mark.parametrize(
    ("body", "body_type", "field", "nearest"),
    [
        (DEVICE | {"approvalRequired": 2}, DeviceBody, "approvalRequired", "approvalsRequired"),
        (DEVICE | {"acls": {}}, DeviceBody, "acls", "acl"),
        (
            DEVICE | {"signingKeys": [{"algorithm": "ED25519", "referense": "x"}]},
            DeviceBody,
            "signingKeys.0.referense",
            "reference",
        ),
        (
            DEVICE | {"acl": {"USE": [{"id": "dev", "typ": "USER"}]}},
            DeviceBody,
            "acl.USE.0.typ",
            "type",
        ),
        ({"requireOTP": True}, Policy, "requireOTP", "requireOtp"),
        ({"decision": "APPROVED", "reasons": "ok"}, DecisionBody, "reasons", "reason"),
    ],
)
def test_unknown_field_is_rejected_with_nearest_name(
    body: dict[str, Any], body_type: type, field: str, nearest: str
) -> None:
    with pytest.raises(UsageError) as caught:
        normalize_body(body, body_type)
    assert caught.value.message == f"Unknown field {field}; did you mean {nearest}?"


def test_unknown_field_without_similar_name_is_rejected() -> None:
    with pytest.raises(UsageError) as caught:
        normalize_body({"zzz": 1}, SigningBody)
    assert caught.value.message == "Unknown field zzz."


def test_unknown_field_name_is_escaped() -> None:
    with pytest.raises(UsageError) as caught:
        normalize_body({"\x1b]2;x\x07" + "y" * 500: 1}, SigningBody)
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 200


def test_null_in_optional_field_counts_as_absent() -> None:
    body = {"decision": "APPROVED", "reason": None, "digest": None, "origin": None}
    assert normalize_body(body, DecisionBody) == {"decision": "APPROVED"}


def test_null_in_nested_optional_field_counts_as_absent() -> None:
    body = DEVICE | {"encryptionKeys": [{"algorithm": "AES256_CBC_PKCS7_PAD", "name": None}]}
    assert normalize_body(body, DeviceBody) == DEVICE


def test_null_in_required_field_is_kept() -> None:
    assert normalize_body({"decision": None}, DecisionBody) == {"decision": None}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_value_is_normalized_or_rejected(value: Any) -> None:
    known = {field.encode_name for field in msgspec.structs.fields(DeviceBody)}
    if isinstance(value, dict) and value.keys() - known:
        with pytest.raises(UsageError, match="Unknown field "):
            normalize_body(value, DeviceBody)
    else:
        assert type(normalize_body(value, DeviceBody)) is type(value)


def test_byte_order_mark_is_skipped() -> None:
    assert decode_json(codecs.BOM_UTF8 + b'{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"{'a': 1}", codecs.BOM_UTF16_LE + "{}".encode("utf-16-le")])
def test_invalid_json_is_rejected(content: bytes) -> None:
    with pytest.raises(UsageError, match="Invalid JSON"):
        decode_json(content)
