"""Tests of reading se-1: packed containers verify, and all others are rejected with the affected part."""

from __future__ import annotations

import hashlib
import io
import struct
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.containers.format import Verification
from sealyard.containers.se1.format import SE1Format
from sealyard.crypto.algorithms import CIPHERS, SIGNATURES, Padding
from sealyard.crypto.certificates import create_self_signed
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.pipeline import CHUNK, Progress
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.errors import ContainerError, InvalidKeyError
from tests.support.factories.containers import (
    CBC,
    NOW,
    SE1_SIGNATURES,
    ZERO_PADDED,
    ZeroPaddingAsPkcs7,
    certificate,
    cipher_for,
    make_layout,
    now,
    pack,
    private_key,
    sign_header,
)

FORMAT = SE1Format(now)
CERTIFICATE = certificate(KeyType.ED25519)
SMALL = pack([b"first firmware", b"second"], [("m", b"meta")])
HEADER = 16 + 36 * 2 + 4


def verify(data: bytes, cert: bytes = CERTIFICATE, *, progress: Progress | None = None) -> Verification:
    return FORMAT.verify(io.BytesIO(data), cert, progress=progress)


def verify_error(data: bytes, cert: bytes = CERTIFICATE) -> ContainerError:
    with pytest.raises(ContainerError) as caught:
        verify(data, cert)
    assert caught.value.message
    assert caught.value.hint
    return caught.value


def replace_field(offset: int, layout: str, value: int) -> bytes:
    """Return ``SMALL`` with another number in its header, signed again so that only the number is wrong."""
    changed = bytearray(SMALL)
    struct.pack_into(layout, changed, offset, value)
    changed[-64:] = sign_header(make_layout([b"x"]), bytes(changed[:HEADER]))
    return bytes(changed)


@pytest.mark.parametrize("encryption", EncryptionAlgorithm)
@pytest.mark.parametrize(("signing", "kind"), SE1_SIGNATURES)
def test_all_algorithms_round_trip(
    encryption: EncryptionAlgorithm, signing: SigningAlgorithm, kind: KeyType, tmp_path: Path
) -> None:
    firmware = [bytes([size]) * size for size in (1, 15, 16, 17)]
    source = io.BytesIO(pack(firmware, [("m", b"meta")], encryption, signing, kind))
    cipher, cert = cipher_for(encryption), certificate(kind)
    verification, digests = FORMAT.verify_digests(source, cert, cipher, [len(each) for each in firmware])
    assert verification == FORMAT.verify(source, cert)
    assert FORMAT.encryption_of(source) is verification.encryption is encryption
    same_bytes = (SIGNATURES[signing].number, SIGNATURES[signing].scheme, SIGNATURES[signing].hash)
    signing_spec = SIGNATURES[verification.signing]
    assert (signing_spec.number, signing_spec.scheme, signing_spec.hash) == same_bytes
    assert list(digests) == [hashlib.sha256(each).hexdigest() for each in firmware]

    paths = FORMAT.extract(source, cert, cipher, tmp_path)
    assert [path.name for path in paths] == [*(f"segment-{index}.bin" for index in range(4)), "metadata.bin"]
    is_padded = CIPHERS[encryption].padding is Padding.ZERO
    for path, data in zip(paths, firmware, strict=False):
        assert path.read_bytes() == data + (bytes(-len(data) % 16) if is_padded else b"")
    assert paths[-1].read_bytes() == b"meta"
    assert bool(verification.warnings) is is_padded


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_sizes_around_chunk_size_round_trip(size: int) -> None:
    data = b"0123456789abcdef" * (size // 16 + 1)
    source = io.BytesIO(pack([data[:size], b"x"]))
    _, digests = FORMAT.verify_digests(source, CERTIFICATE, cipher_for(CBC), [size, 1])
    assert digests[0] == hashlib.sha256(data[:size]).hexdigest()


def test_verification_describes_the_container() -> None:
    steps: list[int] = []
    verification = verify(SMALL, progress=steps.append)
    assert (verification.format, verification.encryption, verification.signing) == (
        "se-1",
        CBC,
        SigningAlgorithm.ED25519,
    )
    assert [segment.length for segment in verification.segments] == [32, 32]
    assert (verification.size, verification.sha256) == (len(SMALL), hashlib.sha256(SMALL).hexdigest())
    assert (verification.metadata_length, verification.certificate_subject, verification.warnings) == (4, "own", ())
    assert verification.certificate_not_after > NOW > verification.certificate_not_before
    assert sum(steps) == 64


def expected_part(offset: int) -> set[str]:
    """Return the parts that can be reported for a changed byte; a changed length moves all following parts."""
    if offset >= len(SMALL) - 64:
        return {"signature"}
    if offset >= HEADER:
        return {f"segment {(offset - HEADER) // 32}"}
    movable = {"header", "metadata", "segment", "signature", "certificate", "trailing bytes"}
    return movable if offset < 24 else {"signature"}


def test_flipped_bit_is_reported_with_part() -> None:
    for offset in range(len(SMALL)):
        for bit in range(8):
            changed = bytearray(SMALL)
            changed[offset] ^= 1 << bit
            part = verify_error(bytes(changed)).part
            assert {part, part.split()[0]} & expected_part(offset)


def test_truncated_container_is_rejected() -> None:
    for length in range(len(SMALL)):
        part = verify_error(SMALL[:length]).part
        if length >= HEADER + 64:
            assert part == "signature"
        elif length >= HEADER:
            assert part == f"segment {(length - HEADER) // 32}"
        elif length >= HEADER - 4:
            assert part == "metadata"
        else:
            assert part == "header"


@pytest.mark.parametrize("kind", sorted({kind for _, kind in SE1_SIGNATURES}))
def test_trailing_bytes_are_rejected(kind: KeyType) -> None:
    signing = next(name for name, accepted_kind in SE1_SIGNATURES if accepted_kind is kind)
    data = pack([b"x"], signing=signing, kind=kind)
    verify(data, certificate(kind))
    for suffix in (b"\0", b"x" * 10_000):
        assert verify_error(data + suffix, certificate(kind)).part == "trailing bytes"
    assert verify_error(data[:-1], certificate(kind)).part == "signature"


@pytest.mark.parametrize(
    ("offset", "layout", "value", "part"),
    [
        (8, "B", 0, "header"),  # pv
        (8, "B", 2, "header"),
        (11, "<H", 6, "header"),  # ec
        (13, "<H", 8, "header"),  # sc
        (15, "B", 0, "header"),  # es
        (16, "<I", 31, "segment 0"),  # esl: no multiple of 16
        (16, "<I", 16, "segment 0"),  # only an IV
        (20, "<I", 0, "segment 1"),
        (20, "<I", 0xFFFFFFF0, "segment 1"),
        (20, "<I", 64, "signature"),
    ],
)
def test_signed_header_with_wrong_number_is_rejected(offset: int, layout: str, value: int, part: str) -> None:
    assert verify_error(replace_field(offset, layout, value)).part == part


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_rejected(data: bytes) -> None:
    assert verify_error(data).part == "header"


@given(
    lengths=st.lists(st.integers(0, 100), min_size=1, max_size=4),
    numbers=st.tuples(st.integers(0, 7), st.integers(0, 8), st.integers(0, 40)),
    rest=st.binary(max_size=300),
)
def test_arbitrary_bytes_after_header_are_rejected(
    lengths: list[int], numbers: tuple[int, int, int], rest: bytes
) -> None:
    cipher_number, signature_number, metadata_length = numbers
    fixed = struct.pack("<8sBHHHB", b"Bosch_SE", 1, metadata_length, cipher_number, signature_number, len(lengths))
    verify_error(fixed + struct.pack(f"<{len(lengths)}I", *lengths) + rest)


PACKED = {
    KeyType.EC_P256: pack([b"x"], signing=SigningAlgorithm.ECC_NIST_P256),
    KeyType.RSA_2048: pack([b"x"], signing=SigningAlgorithm.SHA256_PKCS_V15_2048),
}


@given(st.binary(max_size=300))
def test_arbitrary_signature_is_rejected(signature: bytes) -> None:
    for kind in (KeyType.EC_P256, KeyType.RSA_2048):
        unsigned = PACKED[kind][: 52 + 32]
        assert verify_error(unsigned + signature, certificate(kind)).part in {"signature", "trailing bytes"}


def test_foreign_key_is_rejected() -> None:
    foreign = certificate(KeyType.ED25519, "foreign")
    assert verify_error(SMALL, foreign).part == "signature"


def test_certificate_of_another_key_type_is_rejected() -> None:
    for kind in (KeyType.EC_P256, KeyType.RSA_2048, KeyType.RSA_3072):
        assert verify_error(SMALL, certificate(kind)).part == "certificate"


def test_pkcs1_key_size_follows_the_certificate() -> None:
    for kind, signing in (
        (KeyType.RSA_2048, SigningAlgorithm.SHA256_PKCS_V15_2048),
        (KeyType.RSA_3072, SigningAlgorithm.SHA256_PKCS_V15_3072),
    ):
        data = pack([b"x"], signing=signing, kind=kind)
        assert verify(data, certificate(kind)).signing is signing
        assert verify_error(data, certificate(KeyType.RSA_4096)).part == "certificate"


def test_invalid_certificate_is_rejected() -> None:
    for junk in (b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        assert verify_error(SMALL, junk).part == "certificate"


@pytest.mark.parametrize("years", [-3, 30])
def test_expired_certificate_is_rejected_if_strict(years: int) -> None:
    container_format = SE1Format(lambda: NOW + timedelta(days=365 * years))
    (warning,) = container_format.verify(io.BytesIO(SMALL), CERTIFICATE).warnings
    assert "valid" in warning
    with pytest.raises(ContainerError) as caught:
        container_format.verify(io.BytesIO(SMALL), CERTIFICATE, strict=True)
    assert caught.value.part == "certificate"
    assert FORMAT.verify(io.BytesIO(SMALL), CERTIFICATE, strict=True).warnings == ()


def test_renewed_certificate_verifies() -> None:
    renewed = create_self_signed(private_key(KeyType.ED25519), "renewed", NOW + timedelta(days=1))
    assert verify(SMALL, renewed).certificate_subject == "renewed"


def test_cipher_of_another_algorithm_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError):
        FORMAT.verify_digests(io.BytesIO(SMALL), CERTIFICATE, cipher_for(ZERO_PADDED), [14, 6])
    with pytest.raises(InvalidKeyError):
        FORMAT.extract(io.BytesIO(SMALL), CERTIFICATE, cipher_for(ZERO_PADDED), tmp_path)


def test_wrong_padding_is_reported_with_segment() -> None:
    badly_padded = io.BytesIO(pack([b"x" * 17], cipher=ZeroPaddingAsPkcs7()))
    with pytest.raises(ContainerError, match="padding") as caught:
        FORMAT.verify_digests(badly_padded, CERTIFICATE, cipher_for(CBC), [17])
    assert caught.value.part == "segment 0"


def test_wrong_content_key_yields_other_digest() -> None:
    source = io.BytesIO(pack([b"firmware"], encryption=ZERO_PADDED))
    _, digests = FORMAT.verify_digests(source, CERTIFICATE, AesCipher(ZERO_PADDED, b"w" * 32), [8])
    assert digests != (hashlib.sha256(b"firmware").hexdigest(),)


def test_changed_segment_is_reported_as_such() -> None:
    changed = bytearray(SMALL)
    changed[HEADER + 32] ^= 1
    with pytest.raises(ContainerError, match="does not match its signed hash") as caught:
        FORMAT.verify_digests(io.BytesIO(bytes(changed)), CERTIFICATE, cipher_for(CBC), [14, 6])
    assert caught.value.part == "segment 1"


@pytest.mark.parametrize("sizes", [[], [14], [14, 6, 1], [15, 6], [14, 7]])
def test_digests_of_wrong_sizes_are_rejected(sizes: list[int]) -> None:
    with pytest.raises(ContainerError):
        FORMAT.verify_digests(io.BytesIO(SMALL), CERTIFICATE, cipher_for(CBC), sizes)
