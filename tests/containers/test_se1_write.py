"""Tests of writing se-1: the documented bytes, repeatable steps, and the limits of the format."""

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
from sealyard.crypto.pipeline import no_progress
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from sealyard.model.errors import FormatLimitError, InvalidInputError, InvalidKeyError
from sealyard.model.worker_messages import EncryptedSegment
from tests.support.factories.containers import (
    CBC,
    ZERO_PADDED,
    certificate,
    cipher_for,
    make_layout,
    now,
    pack,
    predictable_random,
    sign_header,
)

FORMAT = SE1Format(now)
GIB = 1024**3


def layout_of_sizes(*sizes: int, encryption: EncryptionAlgorithm = CBC, metadata: Sequence[int] = ()) -> PackageLayout:
    return PackageLayout(
        encryption=encryption,
        signing=SigningAlgorithm.ED25519,
        signing_key_kind=KeyType.ED25519,
        firmware=tuple((f"fw-{index}", size) for index, size in enumerate(sizes)),
        metadata=tuple((f"meta-{index}", size) for index, size in enumerate(metadata)),
    )


def test_container_bytes_match_documentation() -> None:
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
def test_signature_number_matches_algorithm(signing: SigningAlgorithm, kind: KeyType, number: int) -> None:
    assert struct.unpack_from("<H", pack([b"x"], signing=signing, kind=kind), 13) == (number,)


def test_several_metadata_files_are_bundled() -> None:
    metadata = [("../b", b"2"), ("a", b"1")]
    container = pack([b"x"], metadata)
    bundle = ustar.pack(metadata)
    assert struct.unpack_from("<H", container, 9) == (len(bundle),)
    assert container[52 : 52 + len(bundle)] == bundle


def test_segments_can_be_encrypted_concurrently(tmp_path: Path) -> None:
    firmware = [bytes([number]) * (100_000 + number) for number in range(5)]
    layout, path = make_layout(firmware), tmp_path / "container"
    path.touch()

    def encrypt(index: int) -> EncryptedSegment:
        with path.open("r+b") as target:
            return FORMAT.encrypt_segment(
                layout, index, io.BytesIO(firmware[index]), target, cipher_for(CBC), predictable_random, no_progress
            )

    with ThreadPoolExecutor() as threads:
        segments = list(threads.map(encrypt, reversed(range(5))))[::-1]
    with path.open("r+b") as target:
        header = FORMAT.header(layout, segments, [])
        FORMAT.write_signature(layout, target, header, sign_header(layout, header))
        _, digests = FORMAT.verify_digests(
            target, certificate(KeyType.ED25519), cipher_for(CBC), [len(each) for each in firmware]
        )
    assert list(digests) == [hashlib.sha256(each).hexdigest() for each in firmware]


def test_segment_matches_only_unchanged_bytes() -> None:
    layout, target = make_layout([b"one" * 99, b"two"]), io.BytesIO()
    steps: list[int] = []
    first, second = (
        FORMAT.encrypt_segment(
            layout, index, io.BytesIO(data), target, cipher_for(CBC), predictable_random, no_progress
        )
        for index, data in enumerate([b"one" * 99, b"two"])
    )
    assert FORMAT.segment_matches(layout, first, target, steps.append)
    assert sum(steps) == first.length
    assert FORMAT.segment_matches(layout, second, target, no_progress)
    assert not FORMAT.segment_matches(
        layout, msgspec.structs.replace(first, length=first.length + 1), target, no_progress
    )

    target.seek(-1, 2)
    target.truncate()
    assert FORMAT.segment_matches(layout, first, target, no_progress)
    assert not FORMAT.segment_matches(layout, second, target, no_progress)

    target.seek(-second.length, 2)
    target.write(b"!")
    assert not FORMAT.segment_matches(layout, first, target, no_progress)


def test_write_signature_truncates_longer_file() -> None:
    data = b"firmware"
    layout, target = make_layout([data]), io.BytesIO(bytes(5000))
    segment = FORMAT.encrypt_segment(
        layout, 0, io.BytesIO(data), target, cipher_for(CBC), predictable_random, no_progress
    )
    header = FORMAT.header(layout, [segment], [])
    FORMAT.write_signature(layout, target, header, sign_header(layout, header))
    assert len(target.getvalue()) == len(header) + segment.length + 64
    assert FORMAT.verify(target, certificate(KeyType.ED25519)).size == len(target.getvalue())


def test_header_of_another_layout_is_rejected() -> None:
    layout = make_layout([b"one"], [("m", b"12")])
    segment = FORMAT.encrypt_segment(
        layout, 0, io.BytesIO(b"one"), io.BytesIO(), cipher_for(CBC), predictable_random, no_progress
    )
    assert FORMAT.header(layout, [segment], [("m", b"12")])
    for segments, metadata in (
        ([], [("m", b"12")]),
        ([msgspec.structs.replace(segment, index=1)], [("m", b"12")]),
        ([msgspec.structs.replace(segment, length=48)], [("m", b"12")]),
        ([segment], [("m", b"123")]),
        ([segment], [("n", b"12")]),
        ([segment], []),
    ):
        with pytest.raises(InvalidInputError):
            FORMAT.header(layout, segments, metadata)


def test_cipher_of_another_algorithm_is_rejected() -> None:
    with pytest.raises(InvalidKeyError):
        FORMAT.encrypt_segment(
            make_layout([b"x"]),
            0,
            io.BytesIO(b"x"),
            io.BytesIO(),
            cipher_for(ZERO_PADDED),
            predictable_random,
            no_progress,
        )


def test_layout_above_format_limit_is_rejected() -> None:
    FORMAT.check(layout_of_sizes(*[1] * 255))
    FORMAT.check(layout_of_sizes(4 * GIB - 33, metadata=[65_535]))
    FORMAT.check(layout_of_sizes(4 * GIB - 17, encryption=EncryptionAlgorithm.AES128_CTR_NO_PAD))
    FORMAT.check(layout_of_sizes(4 * GIB - 16, encryption=EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD))
    bundled = 120 * 512  # the rest: names.json, two headers for it, the other file with its header, and the end blocks
    FORMAT.check(layout_of_sizes(1, metadata=[1, bundled]))
    for layout in (
        layout_of_sizes(*[1] * 256),
        layout_of_sizes(4 * GIB - 32),
        layout_of_sizes(4 * GIB - 16, encryption=EncryptionAlgorithm.AES128_CTR_NO_PAD),
        layout_of_sizes(4 * GIB - 15, encryption=EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD),
        layout_of_sizes(1, metadata=[65_536]),
        layout_of_sizes(1, metadata=[1, bundled + 1]),
    ):
        with pytest.raises(FormatLimitError, match="limit of the se-1 format"):
            FORMAT.check(layout)


def test_empty_layout_or_file_is_rejected() -> None:
    for layout in (layout_of_sizes(), layout_of_sizes(0), layout_of_sizes(1, 0), layout_of_sizes(1, metadata=[0])):
        with pytest.raises(FormatLimitError):
            FORMAT.check(layout)


def test_signing_key_of_another_type_is_rejected() -> None:
    with pytest.raises(InvalidKeyError):
        FORMAT.check(msgspec.structs.replace(layout_of_sizes(1), signing_key_kind=KeyType.EC_P256))


def test_zero_padding_of_odd_size_warns() -> None:
    assert FORMAT.check(layout_of_sizes(15, 16)) == ()
    (warning,) = FORMAT.check(layout_of_sizes(15, 16, encryption=ZERO_PADDED))
    assert "fw-0" in warning
    assert "1 zero byte," in warning
