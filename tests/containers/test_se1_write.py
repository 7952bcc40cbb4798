"""se-1 is written byte by byte as documented, in steps that may be taken again."""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from sealyard.containers import ustar
from sealyard.containers.format import PackageLayout
from sealyard.containers.se1.format import SE1Format
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.errors import FormatLimitError, InvalidInputError, InvalidKeyError
from sealyard.model.worker_messages import EncryptedSegment
from tests.support.factories.containers import (
    CBC,
    ZERO_PADDED,
    certificate,
    cipher_for,
    nothing,
    now,
    pack,
    shape_of,
    signature_over,
)

PACKING = SE1Format(now)
GIB = 1024**3


def huge(*sizes: int, encryption: EncryptionAlgorithm = CBC, metadata: Sequence[int] = ()) -> PackageLayout:
    return PackageLayout(
        encryption=encryption,
        signing=SigningAlgorithm.ED25519,
        signing_key_kind=KeyType.ED25519,
        firmware=tuple((f"fw-{index}", size) for index, size in enumerate(sizes)),
        metadata=tuple((f"meta-{index}", size) for index, size in enumerate(metadata)),
    )


def test_the_bytes_are_those_of_the_documentation() -> None:
    container = pack([b"one", b"twenty bytes of two!"], [("m.json", b"{}")], EncryptionAlgorithm.AES128_CTR_NO_PAD)
    header_length = 16 + 36 * 2 + 2
    segments = container[header_length : header_length + 19], container[header_length + 19 : header_length + 55]
    expected = (
        b"Bosch_SE"
        + bytes([1])  # pv
        + struct.pack("<H", 2)  # ml
        + struct.pack("<H", 5)  # ec: AES128_CTR_NO_PAD
        + struct.pack("<H", 7)  # sc: ED25519
        + bytes([2])  # es
        + struct.pack("<II", 19, 36)  # esl
        + hashlib.sha256(segments[0]).digest()  # esh
        + hashlib.sha256(segments[1]).digest()
        + b"{}"
    )
    assert container[:header_length] == expected
    assert len(container) == header_length + 55 + 64


@pytest.mark.parametrize(
    ("signing", "kind", "number"),
    [
        (SigningAlgorithm.SHA256_PKCS_V15_2048, KeyType.RSA_2048, 0),
        (SigningAlgorithm.SHA256_PKCS_V15_3072, KeyType.RSA_3072, 0),
        (SigningAlgorithm.SHA256_ECDSA, KeyType.EC_P256, 1),
        (SigningAlgorithm.SHA256_PSS, KeyType.RSA_3072, 2),
        (SigningAlgorithm.SHA512_PSS, KeyType.RSA_4096, 3),
        (SigningAlgorithm.RSA_3072, KeyType.RSA_3072, 4),
        (SigningAlgorithm.SHA256_RSA_3072_PSS, KeyType.RSA_3072, 4),
        (SigningAlgorithm.RSA_4096, KeyType.RSA_4096, 5),
        (SigningAlgorithm.SHA256_RSA_4096_PSS, KeyType.RSA_4096, 5),
        (SigningAlgorithm.ECC_NIST_P256, KeyType.EC_P256, 6),
        (SigningAlgorithm.ED25519, KeyType.ED25519, 7),
    ],
)
def test_the_signature_number_is_that_of_the_design(signing: SigningAlgorithm, kind: KeyType, number: int) -> None:
    assert struct.unpack_from("<H", pack([b"x"], signing=signing, kind=kind), 13) == (number,)


def test_several_metadata_files_become_a_bundle() -> None:
    metadata = [("../b", b"2"), ("a", b"1")]
    container = pack([b"x"], metadata)
    bundle = ustar.pack(metadata)
    assert struct.unpack_from("<H", container, 9) == (len(bundle),)
    assert container[52 : 52 + len(bundle)] == bundle


def test_segments_sealed_at_once_by_several_files_lie_in_their_places(tmp_path: Path) -> None:
    firmware = [bytes([number]) * (100_000 + number) for number in range(5)]
    shape, path = shape_of(firmware), tmp_path / "container"
    path.touch()

    def seal(index: int) -> EncryptedSegment:
        with path.open("r+b") as target:
            return PACKING.encrypt_segment(shape, index, io.BytesIO(firmware[index]), target, cipher_for(CBC), nothing)

    with ThreadPoolExecutor() as threads:
        segments = list(threads.map(seal, reversed(range(5))))[::-1]
    with path.open("r+b") as target:
        header = PACKING.header(shape, segments, [])
        PACKING.write_signature(shape, target, header, signature_over(shape, header))
        _, digests = PACKING.verify_digests(
            target, certificate(KeyType.ED25519), cipher_for(CBC), [len(each) for each in firmware]
        )
    assert list(digests) == [hashlib.sha256(each).hexdigest() for each in firmware]


def test_a_rerun_keeps_a_segment_only_if_the_file_still_holds_it() -> None:
    shape, target = shape_of([b"one" * 99, b"two"]), io.BytesIO()
    told: list[int] = []
    first, second = (
        PACKING.encrypt_segment(shape, index, io.BytesIO(data), target, cipher_for(CBC), nothing)
        for index, data in enumerate([b"one" * 99, b"two"])
    )
    assert PACKING.segment_matches(shape, first, target, told.append)
    assert sum(told) == first.length
    assert PACKING.segment_matches(shape, second, target, nothing)
    assert not PACKING.segment_matches(shape, msgspec.structs.replace(first, length=first.length + 1), target, nothing)

    target.seek(-1, 2)
    target.truncate()
    assert PACKING.segment_matches(shape, first, target, nothing)
    assert not PACKING.segment_matches(shape, second, target, nothing)

    target.seek(-second.length, 2)
    target.write(b"!")
    assert not PACKING.segment_matches(shape, first, target, nothing)


def test_finishing_cuts_what_an_earlier_try_left_behind() -> None:
    data = b"firmware"
    shape, target = shape_of([data]), io.BytesIO(bytes(5000))
    segment = PACKING.encrypt_segment(shape, 0, io.BytesIO(data), target, cipher_for(CBC), nothing)
    header = PACKING.header(shape, [segment], [])
    PACKING.write_signature(shape, target, header, signature_over(shape, header))
    assert len(target.getvalue()) == len(header) + segment.length + 64
    assert PACKING.verify(target, certificate(KeyType.ED25519)).size == len(target.getvalue())


def test_a_header_wants_the_segments_and_metadata_of_its_shape() -> None:
    shape = shape_of([b"one"], [("m", b"12")])
    segment = PACKING.encrypt_segment(shape, 0, io.BytesIO(b"one"), io.BytesIO(), cipher_for(CBC), nothing)
    assert PACKING.header(shape, [segment], [("m", b"12")])
    for segments, metadata in (
        ([], [("m", b"12")]),
        ([msgspec.structs.replace(segment, index=1)], [("m", b"12")]),
        ([msgspec.structs.replace(segment, length=48)], [("m", b"12")]),
        ([segment], [("m", b"123")]),
        ([segment], [("n", b"12")]),
        ([segment], []),
    ):
        with pytest.raises(InvalidInputError):
            PACKING.header(shape, segments, metadata)


def test_the_key_must_be_for_the_algorithm_of_the_shape() -> None:
    with pytest.raises(InvalidKeyError):
        PACKING.encrypt_segment(shape_of([b"x"]), 0, io.BytesIO(b"x"), io.BytesIO(), cipher_for(ZERO_PADDED), nothing)


def test_what_fits_is_taken_and_what_does_not_is_refused_with_a_word_about_se_2() -> None:
    PACKING.check(huge(*[1] * 255))
    PACKING.check(huge(4 * GIB - 33, metadata=[65_535]))
    PACKING.check(huge(4 * GIB - 17, encryption=EncryptionAlgorithm.AES128_CTR_NO_PAD))
    PACKING.check(huge(4 * GIB - 16, encryption=EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD))
    bundled = 120 * 512  # beside it: names, their two headers, the other file with its own, and the end
    PACKING.check(huge(1, metadata=[1, bundled]))
    for shape in (
        huge(*[1] * 256),
        huge(4 * GIB - 32),
        huge(4 * GIB - 16, encryption=EncryptionAlgorithm.AES128_CTR_NO_PAD),
        huge(4 * GIB - 15, encryption=EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD),
        huge(1, metadata=[65_536]),
        huge(1, metadata=[1, bundled + 1]),
    ):
        with pytest.raises(FormatLimitError, match="limit of the se-1 format"):
            PACKING.check(shape)


def test_empty_things_are_refused() -> None:
    for shape in (huge(), huge(0), huge(1, 0), huge(1, metadata=[0])):
        with pytest.raises(FormatLimitError):
            PACKING.check(shape)


def test_a_signing_key_of_another_kind_is_refused() -> None:
    with pytest.raises(InvalidKeyError):
        PACKING.check(msgspec.structs.replace(huge(1), signing_key_kind=KeyType.EC_P256))


def test_zero_padding_is_warned_about_where_it_changes_a_file() -> None:
    assert PACKING.check(huge(15, 16)) == ()
    (warning,) = PACKING.check(huge(15, 16, encryption=ZERO_PADDED))
    assert "fw-0" in warning
    assert "1 zero byte," in warning
