"""Test SHA-256 digests in the spellings of other tools."""

from __future__ import annotations

import pytest

from sealyard.model.digests import parse_sha256
from sealyard.model.errors import UsageError

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "text", [DIGEST, DIGEST.upper(), f"sha256:{DIGEST}", f"SHA256:{DIGEST.upper()}", f"Sha256:{DIGEST}"]
)
def test_digest_is_normalized(text: str) -> None:
    assert parse_sha256(text) == DIGEST


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ""),
        ("abc", ""),
        ("g" * 64, ""),
        (f"{DIGEST}0", ""),
        (f"sha256:{DIGEST}\n", ""),
        (f"sha512:{DIGEST}", ""),
        ("sha256:", ""),
        ("d41d8cd98f00b204e9800998ecf8427e", "MD5"),
        (f"sha1:{'a' * 40}", "SHA-1"),
        (DIGEST * 2, "SHA-512"),
        ("\x1b[31m", ""),
    ],
)
def test_other_text_is_rejected(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_sha256(text)
    assert caught.value.message.startswith("Invalid SHA-256")
    assert reason in caught.value.message
    assert caught.value.message.isprintable()
