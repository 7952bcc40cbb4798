"""A stranger with OpenSSL, GNU tar and the documentation opens our containers; nothing of ours reads here."""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import load_pem_x509_certificate

from sealyard.containers.format import PackageLayout
from sealyard.containers.registry import get_format
from sealyard.crypto.algorithms import CIPHERS, SIGNATURES, SYMMETRIC_KEY_LENGTHS, SigningInput, signing_input
from sealyard.crypto.certificates import create_self_signed
from sealyard.crypto.ciphers import AesCipher
from sealyard.crypto.signatures import PrivateKey, sign
from sealyard.model.algorithms import EncryptionAlgorithm, KeyType, SigningAlgorithm
from tests.support.programs import require

pytestmark = pytest.mark.interop

FIRMWARE = (b"first firmware of an odd length", b"second, of 32 bytes exactly.....", b"\x00" * 5000 + b"\x01")
METADATA = (("release notes.txt", b"fixes\n"), ("übersicht.json", b"{}"))

# The documentation's numbers again, by hand: number -> OpenSSL's name, key bytes, IV bytes, padding
DOCUMENTED_CIPHERS = {
    0: ("aes-256-cbc", 32, 16, "pkcs7"),
    1: ("aes-128-cbc", 16, 16, "pkcs7"),
    2: ("aes-256-cbc", 32, 16, "zero"),
    3: ("aes-256-ecb", 32, 0, "zero"),
    4: ("aes-128-ecb", 16, 0, "zero"),
    5: ("aes-128-ctr", 16, 16, "none"),
}
PSS = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]
DOCUMENTED_SIGNATURES = {
    0: ["-sha256"],
    1: ["-sha256"],
    2: ["-sha256", *PSS],
    3: ["-sha512", *PSS],
    4: ["-sha256", *PSS],
    5: ["-sha256", *PSS],
    6: ["-sha256"],
}
ED25519_NUMBER = 7


@cache
def private_key(kind: KeyType) -> PrivateKey:
    match kind:
        case KeyType.EC_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(65537, int(kind.removeprefix("RSA_")))


def content_key(encryption: EncryptionAlgorithm) -> bytes:
    return bytes(range(SYMMETRIC_KEY_LENGTHS[CIPHERS[encryption].key_kind]))


def make(
    folder: Path,
    encryption: EncryptionAlgorithm,
    signing: SigningAlgorithm,
    kind: KeyType,
    metadata: Sequence[tuple[str, bytes]] = METADATA,
) -> Path:
    """A container and ``certificate.pem`` beside it, signed the way a worker does."""
    shape = PackageLayout(
        encryption=encryption,
        signing=signing,
        signing_key_kind=kind,
        firmware=tuple((f"fw-{index}", len(data)) for index, data in enumerate(FIRMWARE)),
        metadata=tuple((name, len(data)) for name, data in metadata),
    )
    packing, key = get_format("se-1"), private_key(kind)
    cipher = AesCipher(encryption, content_key(encryption))
    path = folder / "container"
    with path.open("w+b") as target:
        segments = [
            packing.encrypt_segment(shape, index, io.BytesIO(data), target, cipher, lambda _: None)
            for index, data in enumerate(FIRMWARE)
        ]
        header = packing.header(shape, segments, metadata)
        prehashed = SIGNATURES[signing].input is SigningInput.SHA256_DIGEST
        signature = sign(key, signing, signing_input(signing, header), prehashed=prehashed)
        packing.write_signature(shape, target, header, signature)
    (folder / "certificate.pem").write_bytes(create_self_signed(key, "interop", datetime.now(UTC)))
    return path


def split(path: Path) -> tuple[int, int, list[bytes]]:
    """Cuts the container by its documentation into files beside it; cipher, signature number and hashes."""
    data = path.read_bytes()
    magic, version, ml, cipher, signature, count = struct.unpack_from("<8sBHHHB", data)
    assert (magic, version, count) == (b"Bosch_SE", 1, len(FIRMWARE))
    lengths = struct.unpack_from(f"<{count}I", data, 16)
    hashes = [data[16 + 4 * count + 32 * index :][:32] for index in range(count)]
    end_of_table = 16 + 36 * count
    place = end_of_table + ml
    (path.parent / "metadata").write_bytes(data[end_of_table:place])
    (path.parent / "header").write_bytes(data[:place])
    for index, length in enumerate(lengths):
        (path.parent / f"segment-{index}").write_bytes(data[place : place + length])
        place += length
    (path.parent / "signature").write_bytes(data[place:])
    return cipher, signature, hashes


def openssl(folder: Path, *arguments: str, succeeds: bool = True) -> bytes:
    run = subprocess.run([require("openssl"), *arguments], cwd=folder, capture_output=True, check=False)
    assert (run.returncode == 0) is succeeds, run.stderr
    return run.stdout


def check_signature(folder: Path, number: int, *, succeeds: bool = True) -> None:
    public = openssl(folder, "x509", "-in", "certificate.pem", "-pubkey", "-noout")
    (folder / "public.pem").write_bytes(public)
    files = ["-sigfile", "signature", "-in", "header"]
    if number == ED25519_NUMBER:
        openssl(folder, "pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin", *files, succeeds=succeeds)
        return
    options = DOCUMENTED_SIGNATURES[number]
    verify = ["dgst", *options, "-verify", "public.pem", "-signature", "signature", "header"]
    openssl(folder, *verify, succeeds=succeeds)


def decrypt(folder: Path, index: int, number: int, key: bytes) -> bytes:
    name, key_length, iv_length, padding = DOCUMENTED_CIPHERS[number]
    assert len(key) == key_length
    segment = (folder / f"segment-{index}").read_bytes()
    end = len(segment) - iv_length
    (folder / "ciphertext").write_bytes(segment[:end])
    iv = ["-iv", segment[end:].hex()] if iv_length else []
    unpadded = ["-nopad"] if padding == "zero" else []
    return openssl(folder, "enc", "-d", f"-{name}", "-K", key.hex(), *iv, *unpadded, "-in", "ciphertext")


def open_as_a_stranger(folder: Path, encryption: EncryptionAlgorithm) -> None:
    cipher, signature, hashes = split(folder / "container")
    check_signature(folder, signature)
    for index, expected in enumerate(hashes):
        digest = openssl(folder, "dgst", "-sha256", "-r", f"segment-{index}").split()[0].decode()
        assert digest == expected.hex()
        opened = decrypt(folder, index, cipher, content_key(encryption))
        padding = bytes(-len(FIRMWARE[index]) % 16) if DOCUMENTED_CIPHERS[cipher][3] == "zero" else b""
        assert opened == FIRMWARE[index] + padding


@pytest.mark.parametrize("encryption", EncryptionAlgorithm)
def test_every_cipher_opens_with_openssl(tmp_path: Path, encryption: EncryptionAlgorithm) -> None:
    make(tmp_path, encryption, SigningAlgorithm.ECC_NIST_P256, KeyType.EC_P256)
    open_as_a_stranger(tmp_path, encryption)


@pytest.mark.parametrize(
    ("signing", "kind"), [(name, kind) for name, spec in SIGNATURES.items() for kind in spec.key_kinds]
)
def test_every_signature_verifies_with_openssl(tmp_path: Path, signing: SigningAlgorithm, kind: KeyType) -> None:
    make(tmp_path, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, signing, kind)
    open_as_a_stranger(tmp_path, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    _, number, _ = split(tmp_path / "container")
    header = tmp_path / "header"
    header.write_bytes(header.read_bytes()[:-1] + b"!")
    check_signature(tmp_path, number, succeeds=False)


def test_a_certificate_of_ours_satisfies_openssl(tmp_path: Path) -> None:
    make(tmp_path, EncryptionAlgorithm.AES128_CTR_NO_PAD, SigningAlgorithm.ED25519, KeyType.ED25519)
    openssl(tmp_path, "verify", "-x509_strict", "-partial_chain", "-trusted", "certificate.pem", "certificate.pem")
    certificate = load_pem_x509_certificate((tmp_path / "certificate.pem").read_bytes())
    assert "interop" in certificate.subject.rfc4514_string()


def test_gnu_tar_lists_and_unpacks_several_metadata_files(tmp_path: Path) -> None:
    tar = require("tar")
    make(tmp_path, EncryptionAlgorithm.AES128_CTR_NO_PAD, SigningAlgorithm.ED25519, KeyType.ED25519)
    split(tmp_path / "container")
    listed = subprocess.check_output([tar, "-tvf", "metadata", "--numeric-owner", "--utc"], cwd=tmp_path, text=True)
    fields = [line.split() for line in listed.splitlines()]
    assert [(each[0], each[1], each[3], each[5]) for each in fields] == [
        ("-rw-r--r--", "0/0", "1970-01-01", name) for name in ("names.json", "000", "001")
    ]
    subprocess.run([tar, "-xf", "metadata"], cwd=tmp_path, check=True)
    assert (tmp_path / "names.json").read_text("utf-8") == '["release notes.txt","übersicht.json"]'
    assert [(tmp_path / name).read_bytes() for name in ("000", "001")] == [data for _, data in METADATA]


def test_gnu_tar_writes_the_same_bundle(tmp_path: Path) -> None:
    tar = require("tar")
    make(tmp_path, EncryptionAlgorithm.AES128_CTR_NO_PAD, SigningAlgorithm.ED25519, KeyType.ED25519)
    split(tmp_path / "container")
    subprocess.run([tar, "-xf", "metadata"], cwd=tmp_path, check=True)
    form = ["--format=ustar", "--mode=0644", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-b1"]
    subprocess.run([tar, *form, "-cf", "again", "names.json", "000", "001"], cwd=tmp_path, check=True)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "metadata").read_bytes()


def test_one_metadata_file_lies_in_the_header_as_it_is(tmp_path: Path) -> None:
    make(
        tmp_path,
        EncryptionAlgorithm.AES128_CTR_NO_PAD,
        SigningAlgorithm.ED25519,
        KeyType.ED25519,
        metadata=(("one.json", b'{"version": 7}'),),
    )
    split(tmp_path / "container")
    assert (tmp_path / "metadata").read_bytes() == b'{"version": 7}'


def test_the_sha256_of_the_whole_container_is_what_verify_reports(tmp_path: Path) -> None:
    path = make(tmp_path, EncryptionAlgorithm.AES128_CTR_NO_PAD, SigningAlgorithm.ED25519, KeyType.ED25519)
    with path.open("rb") as source:
        found = get_format("se-1").verify(source, (tmp_path / "certificate.pem").read_bytes())
    assert subprocess.check_output([require("sha256sum"), path], text=True).split()[0] == found.sha256
