"""Tests of canonical JSON (RFC 8785)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.base import FrozenStruct
from sealyard.model.canonical_json import canonical_json
from sealyard.model.errors import InvalidInputError
from sealyard.model.requests import EncryptionRequest
from sealyard.model.tasks import InputFile

numbers = st.integers(1 - 2**53, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Sample(FrozenStruct, frozen=True, kw_only=True):
    created_at: datetime
    sizes: tuple[int, ...]


def test_rfc_8785_example_matches() -> None:
    # Source: RFC 8785, section 3.2.2 (input) and 3.2.4 (its UTF-8 form).
    value = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": '€$\x0f\nA\'B"\\\\"/',
        "literals": [None, True, False],
    }
    assert (
        canonical_json(value)
        == (
            '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
            '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
        ).encode()
    )


def test_keys_are_sorted_by_utf16_units() -> None:
    # Source: RFC 8785, section 3.2.3, the order of its sample.
    value = dict.fromkeys(["€", "\r", "\ufb33", "1", "😀", "\x80", "ö"], 0)
    order = ["\\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]
    assert canonical_json(value) == ("{" + ",".join(f'"{key}":0' for key in order) + "}").encode()


@given(json_values)
def test_output_equals_reference_implementation(value: object) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


def test_struct_is_encoded_in_camel_case() -> None:
    sample = Sample(created_at=datetime(2026, 11, 23, 8, 0, tzinfo=UTC), sizes=(2, 1))
    assert canonical_json(sample) == b'{"createdAt":"2026-11-23T08:00:00Z","sizes":[2,1]}'


@pytest.mark.parametrize("value", [2**53, -(2**53), float("inf"), float("nan"), "\udc80", {"\udc80": 1}, object()])
def test_unsupported_value_is_rejected(value: object) -> None:
    with pytest.raises(InvalidInputError):
        canonical_json(value)


def test_deep_nesting_is_rejected() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(InvalidInputError):
        canonical_json(value)


def test_request_without_named_key_keeps_its_encoding() -> None:
    request = EncryptionRequest(config="gateway", file=InputFile(name="a", size=1, sha256="00"))
    assert canonical_json(request) == (
        b'{"clientToken":null,"config":"gateway","contentType":"",'
        b'"file":{"inline":null,"name":"a","sha256":"00","size":1},"name":""}'
    )
