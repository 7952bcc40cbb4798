"""se-1 is read strictly: what was packed comes back, and everything else is refused by the name of its part."""

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
    ZERO_PADDED,
    ZeroPaddingAsPkcs7,
    certificate,
    cipher_for,
    now,
    pack,
    private_key,
    shape_of,
    signature_over,
)

PACKING = SE1Format(now)
OWN = certificate(KeyType.ED25519)
SMALL = pack([b"first firmware", b"second"], [("m", b"meta")])
HEADER = 16 + 36 * 2 + 4


def verify(data: bytes, cert: bytes = OWN, *, progress: Progress | None = None) -> Verification:
    return PACKING.verify(io.BytesIO(data), cert, progress=progress)


def refusal(data: bytes, cert: bytes = OWN) -> ContainerError:
    with pytest.raises(ContainerError) as caught:
        verify(data, cert)
    assert caught.value.message
    assert caught.value.hint
    return caught.value


def with_field(place: int, layout: str, value: int) -> bytes:
    """``SMALL`` with another number in its header and signed again, so that only the number is wrong."""
    changed = bytearray(SMALL)
    struct.pack_into(layout, changed, place, value)
    changed[-64:] = signature_over(shape_of([b"x"]), bytes(changed[:HEADER]))
    return bytes(changed)


@pytest.mark.parametrize("encryption", EncryptionAlgorithm)
@pytest.mark.parametrize(
    ("signing", "kind"), [(name, kind) for name, spec in SIGNATURES.items() for kind in spec.key_kinds]
)
def test_all_algorithms_come_back(
    encryption: EncryptionAlgorithm, signing: SigningAlgorithm, kind: KeyType, tmp_path: Path
) -> None:
    firmware = [bytes([size]) * size for size in (1, 15, 16, 17)]
    source = io.BytesIO(pack(firmware, [("m", b"meta")], encryption, signing, kind))
    cipher, cert = cipher_for(encryption), certificate(kind)
    found, digests = PACKING.verify_digests(source, cert, cipher, [len(each) for each in firmware])
    assert found == PACKING.verify(source, cert)
    assert PACKING.encryption_of(source) is found.encryption is encryption
    same_bytes = (SIGNATURES[signing].number, SIGNATURES[signing].scheme, SIGNATURES[signing].hash)
    judged = SIGNATURES[found.signing]
    assert (judged.number, judged.scheme, judged.hash) == same_bytes
    assert list(digests) == [hashlib.sha256(each).hexdigest() for each in firmware]

    opened = PACKING.extract(source, cert, cipher, tmp_path)
    assert [path.name for path in opened] == [*(f"segment-{index}.bin" for index in range(4)), "metadata.bin"]
    padded = CIPHERS[encryption].padding is Padding.ZERO
    for path, data in zip(opened, firmware, strict=False):
        assert path.read_bytes() == data + (bytes(-len(data) % 16) if padded else b"")
    assert opened[-1].read_bytes() == b"meta"
    assert bool(found.warnings) is padded


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_sizes_around_a_piece_come_back(size: int) -> None:
    data = b"0123456789abcdef" * (size // 16 + 1)
    source = io.BytesIO(pack([data[:size], b"x"]))
    _, digests = PACKING.verify_digests(source, OWN, cipher_for(CBC), [size, 1])
    assert digests[0] == hashlib.sha256(data[:size]).hexdigest()


def test_verifying_tells_what_there_is() -> None:
    told: list[int] = []
    found = verify(SMALL, progress=told.append)
    assert (found.format, found.encryption, found.signing) == ("se-1", CBC, SigningAlgorithm.ED25519)
    assert [segment.length for segment in found.segments] == [32, 32]
    assert (found.size, found.sha256) == (len(SMALL), hashlib.sha256(SMALL).hexdigest())
    assert (found.metadata_length, found.certificate_subject, found.warnings) == (4, "own", ())
    assert found.certificate_not_after > NOW > found.certificate_not_before
    assert sum(told) == 64


def expected_part(place: int) -> set[str]:
    """Where a changed byte may be noticed: lengths move everything that follows."""
    if place >= len(SMALL) - 64:
        return {"signature"}
    if place >= HEADER:
        return {f"segment {(place - HEADER) // 32}"}
    moving = {"header", "metadata", "segment", "signature", "certificate", "trailing bytes"}
    return moving if place < 24 else {"signature"}


def test_every_flipped_bit_is_refused_by_the_name_of_its_part() -> None:
    for place in range(len(SMALL)):
        for bit in range(8):
            changed = bytearray(SMALL)
            changed[place] ^= 1 << bit
            part = refusal(bytes(changed)).part
            assert {part, part.split()[0]} & expected_part(place)


def test_a_truncation_at_any_length_is_refused() -> None:
    for length in range(len(SMALL)):
        part = refusal(SMALL[:length]).part
        if length >= HEADER + 64:
            assert part == "signature"
        elif length >= HEADER:
            assert part == f"segment {(length - HEADER) // 32}"
        elif length >= HEADER - 4:
            assert part == "metadata"
        else:
            assert part == "header"


@pytest.mark.parametrize("kind", [kind for kind in KeyType if not kind.symmetric])
def test_trailing_bytes_are_refused(kind: KeyType) -> None:
    signing = next(name for name, spec in SIGNATURES.items() if kind in spec.key_kinds)
    data = pack([b"x"], signing=signing, kind=kind)
    verify(data, certificate(kind))
    for more in (b"\0", b"x" * 10_000):
        assert refusal(data + more, certificate(kind)).part == "trailing bytes"
    assert refusal(data[:-1], certificate(kind)).part == "signature"


@pytest.mark.parametrize(
    ("place", "layout", "value", "part"),
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
def test_a_signed_header_with_a_wrong_number_is_still_refused(place: int, layout: str, value: int, part: str) -> None:
    assert refusal(with_field(place, layout, value)).part == part


@given(st.binary(max_size=400))
def test_any_bytes_give_our_error(data: bytes) -> None:
    assert refusal(data).part == "header"


@given(
    lengths=st.lists(st.integers(0, 100), min_size=1, max_size=4),
    numbers=st.tuples(st.integers(0, 7), st.integers(0, 8), st.integers(0, 40)),
    rest=st.binary(max_size=300),
)
def test_any_bytes_behind_a_likely_beginning_give_our_error(
    lengths: list[int], numbers: tuple[int, int, int], rest: bytes
) -> None:
    cipher_number, signature_number, metadata_length = numbers
    fixed = struct.pack("<8sBHHHB", b"Bosch_SE", 1, metadata_length, cipher_number, signature_number, len(lengths))
    refusal(fixed + struct.pack(f"<{len(lengths)}I", *lengths) + rest)


PACKED = {
    KeyType.EC_P256: pack([b"x"], signing=SigningAlgorithm.ECC_NIST_P256),
    KeyType.RSA_2048: pack([b"x"], signing=SigningAlgorithm.SHA256_PKCS_V15_2048),
}


@given(st.binary(max_size=300))
def test_any_bytes_as_signature_give_our_error(signature: bytes) -> None:
    for kind in (KeyType.EC_P256, KeyType.RSA_2048):
        unsigned = PACKED[kind][: 52 + 32]
        assert refusal(unsigned + signature, certificate(kind)).part in {"signature", "trailing bytes"}


def test_a_foreign_key_is_refused() -> None:
    foreign = certificate(KeyType.ED25519, "foreign")
    assert refusal(SMALL, foreign).part == "signature"


def test_a_certificate_of_another_kind_is_refused() -> None:
    for kind in (KeyType.EC_P256, KeyType.RSA_2048, KeyType.RSA_3072):
        assert refusal(SMALL, certificate(kind)).part == "certificate"


def test_pkcs1_of_both_sizes_is_told_apart_by_the_certificate() -> None:
    for kind, signing in (
        (KeyType.RSA_2048, SigningAlgorithm.SHA256_PKCS_V15_2048),
        (KeyType.RSA_3072, SigningAlgorithm.SHA256_PKCS_V15_3072),
    ):
        data = pack([b"x"], signing=signing, kind=kind)
        assert verify(data, certificate(kind)).signing is signing
        assert refusal(data, certificate(KeyType.RSA_4096)).part == "certificate"


def test_what_is_no_certificate_is_refused_as_one() -> None:
    for junk in (b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        assert refusal(SMALL, junk).part == "certificate"


@pytest.mark.parametrize("years", [-3, 30])
def test_validity_is_a_warning_and_strictly_an_error(years: int) -> None:
    packing = SE1Format(lambda: NOW + timedelta(days=365 * years))
    (warning,) = packing.verify(io.BytesIO(SMALL), OWN).warnings
    assert "valid" in warning
    with pytest.raises(ContainerError) as caught:
        packing.verify(io.BytesIO(SMALL), OWN, strict=True)
    assert caught.value.part == "certificate"
    assert PACKING.verify(io.BytesIO(SMALL), OWN, strict=True).warnings == ()


def test_a_renewed_certificate_of_the_same_key_verifies() -> None:
    renewed = create_self_signed(private_key(KeyType.ED25519), "renewed", NOW + timedelta(days=1))
    assert verify(SMALL, renewed).certificate_subject == "renewed"


def test_the_key_of_another_algorithm_is_refused_before_anything_is_decrypted(tmp_path: Path) -> None:
    with pytest.raises(InvalidKeyError):
        PACKING.verify_digests(io.BytesIO(SMALL), OWN, cipher_for(ZERO_PADDED), [14, 6])
    with pytest.raises(InvalidKeyError):
        PACKING.extract(io.BytesIO(SMALL), OWN, cipher_for(ZERO_PADDED), tmp_path)


def test_a_wrong_padding_is_refused_by_the_name_of_its_segment() -> None:
    badly_padded = io.BytesIO(pack([b"x" * 17], cipher=ZeroPaddingAsPkcs7()))
    with pytest.raises(ContainerError, match="padding") as caught:
        PACKING.verify_digests(badly_padded, OWN, cipher_for(CBC), [17])
    assert caught.value.part == "segment 0"


def test_a_wrong_content_key_never_gives_the_right_digest() -> None:
    source = io.BytesIO(pack([b"firmware"], encryption=ZERO_PADDED))
    _, digests = PACKING.verify_digests(source, OWN, AesCipher(ZERO_PADDED, b"w" * 32), [8])
    assert digests != (hashlib.sha256(b"firmware").hexdigest(),)


def test_a_changed_segment_is_not_taken_for_a_wrong_key() -> None:
    changed = bytearray(SMALL)
    changed[HEADER + 32] ^= 1
    with pytest.raises(ContainerError, match="does not match its signed hash") as caught:
        PACKING.verify_digests(io.BytesIO(bytes(changed)), OWN, cipher_for(CBC), [14, 6])
    assert caught.value.part == "segment 1"


@pytest.mark.parametrize("sizes", [[], [14], [14, 6, 1], [15, 6], [14, 7]])
def test_digests_of_other_sizes_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ContainerError):
        PACKING.verify_digests(io.BytesIO(SMALL), OWN, cipher_for(CBC), sizes)
