"""Test that OpenSSL and GNU tar open se-1 containers by the format documentation alone."""

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
from tests.support.factories.containers import SE1_SIGNATURES, predictable_random
from tests.support.programs import require

pytestmark = pytest.mark.interop

FIRMWARE = (b"first firmware of an odd length", b"second, of 32 bytes exactly.....", b"\x00" * 5000 + b"\x01")
METADATA = (("release notes.txt", b"fixes\n"), ("übersicht.json", b"{}"))

# The algorithm numbers of the format documentation: number -> OpenSSL name, key bytes, IV bytes, padding
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
def get_private_key(kind: KeyType) -> PrivateKey:
    match kind:
        case KeyType.EC_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.ED25519:
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(65537, int(kind.removeprefix("RSA_")))


def content_key(encryption: EncryptionAlgorithm) -> bytes:
    return bytes(range(SYMMETRIC_KEY_LENGTHS[CIPHERS[encryption].key_kind]))


def create_container(
    folder: Path,
    encryption: EncryptionAlgorithm,
    signing: SigningAlgorithm,
    kind: KeyType,
    metadata: Sequence[tuple[str, bytes]] = METADATA,
) -> Path:
    """Create a container, signed as by a worker, and ``certificate.pem`` next to it."""
    layout = PackageLayout(
        encryption=encryption,
        signing=signing,
        signing_key_kind=kind,
        firmware=tuple((f"fw-{index}", len(data)) for index, data in enumerate(FIRMWARE)),
        metadata=tuple((name, len(data)) for name, data in metadata),
    )
    container_format, key = get_format("se-1"), get_private_key(kind)
    cipher = AesCipher(encryption, content_key(encryption))
    path = folder / "container"
    with path.open("w+b") as target:
        segments = [
            container_format.encrypt_segment(
                layout, index, io.BytesIO(data), target, cipher, predictable_random, lambda _: None
            )
            for index, data in enumerate(FIRMWARE)
        ]
        header = container_format.header(layout, segments, metadata)
        prehashed = SIGNATURES[signing].input is SigningInput.SHA256_DIGEST
        signature = sign(key, signing, signing_input(signing, header), prehashed=prehashed)
        container_format.write_signature(layout, target, header, signature)
    (folder / "certificate.pem").write_bytes(create_self_signed(key, "interop", datetime.now(UTC)))
    return path


def split_container(path: Path, firmware_count: int = len(FIRMWARE)) -> tuple[int, int, list[bytes]]:
    """Split the container into files next to it; return the cipher number, the signature number and the hashes."""
    data = path.read_bytes()
    magic, version, metadata_length, cipher, signature, count = struct.unpack_from("<8sBHHHB", data)
    assert (magic, version, count) == (b"Bosch_SE", 1, firmware_count)
    lengths = struct.unpack_from(f"<{count}I", data, 16)
    hashes = [data[16 + 4 * count + 32 * index :][:32] for index in range(count)]
    end_of_table = 16 + 36 * count
    position = end_of_table + metadata_length
    (path.parent / "metadata").write_bytes(data[end_of_table:position])
    (path.parent / "header").write_bytes(data[:position])
    for index, length in enumerate(lengths):
        (path.parent / f"segment-{index}").write_bytes(data[position : position + length])
        position += length
    (path.parent / "signature").write_bytes(data[position:])
    return cipher, signature, hashes


def openssl(folder: Path, *arguments: str, succeeds: bool = True) -> bytes:
    result = subprocess.run([require("openssl"), *arguments], cwd=folder, capture_output=True, check=False)
    assert (result.returncode == 0) is succeeds, result.stderr
    return result.stdout


def check_signature(folder: Path, number: int, *, succeeds: bool = True) -> None:
    public_key = openssl(folder, "x509", "-in", "certificate.pem", "-pubkey", "-noout")
    (folder / "public.pem").write_bytes(public_key)
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
    no_padding = ["-nopad"] if padding == "zero" else []
    return openssl(folder, "enc", "-d", f"-{name}", "-K", key.hex(), *iv, *no_padding, "-in", "ciphertext")


def verify_and_decrypt(folder: Path, encryption: EncryptionAlgorithm) -> None:
    cipher, signature, hashes = split_container(folder / "container")
    check_signature(folder, signature)
    for index, expected in enumerate(hashes):
        digest = openssl(folder, "dgst", "-sha256", "-r", f"segment-{index}").split()[0].decode()
        assert digest == expected.hex()
        plaintext = decrypt(folder, index, cipher, content_key(encryption))
        padding = bytes(-len(FIRMWARE[index]) % 16) if DOCUMENTED_CIPHERS[cipher][3] == "zero" else b""
        assert plaintext == FIRMWARE[index] + padding


@pytest.mark.parametrize("encryption", EncryptionAlgorithm)
def test_cipher_decrypts_with_openssl(tmp_path: Path, encryption: EncryptionAlgorithm) -> None:
    create_container(tmp_path, encryption, SigningAlgorithm.ECC_NIST_P256, KeyType.EC_P256)
    verify_and_decrypt(tmp_path, encryption)


@pytest.mark.parametrize(("signing", "kind"), SE1_SIGNATURES)
def test_signature_verifies_with_openssl(tmp_path: Path, signing: SigningAlgorithm, kind: KeyType) -> None:
    create_container(tmp_path, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, signing, kind)
    verify_and_decrypt(tmp_path, EncryptionAlgorithm.AES256_CBC_PKCS7_PAD)
    _, number, _ = split_container(tmp_path / "container")
    header = tmp_path / "header"
    header.write_bytes(header.read_bytes()[:-1] + b"!")
    check_signature(tmp_path, number, succeeds=False)


def test_self_signed_certificate_verifies_with_openssl(tmp_path: Path) -> None:
    create_container(tmp_path, EncryptionAlgorithm.AES128_CTR_NO_PAD, SigningAlgorithm.ED25519, KeyType.ED25519)
    openssl(tmp_path, "verify", "-x509_strict", "-partial_chain", "-trusted", "certificate.pem", "certificate.pem")
    certificate = load_pem_x509_certificate((tmp_path / "certificate.pem").read_bytes())
    assert "interop" in certificate.subject.rfc4514_string()


def test_gnu_tar_extracts_metadata_bundle(tmp_path: Path) -> None:
    tar = require("tar")
    create_container(tmp_path, EncryptionAlgorithm.AES128_CTR_NO_PAD, SigningAlgorithm.ED25519, KeyType.ED25519)
    split_container(tmp_path / "container")
    listing = subprocess.check_output([tar, "-tvf", "metadata", "--numeric-owner", "--utc"], cwd=tmp_path, text=True)
    fields = [line.split() for line in listing.splitlines()]
    assert [(each[0], each[1], each[3], each[5]) for each in fields] == [
        ("-rw-r--r--", "0/0", "1970-01-01", name) for name in ("names.json", "000", "001")
    ]
    subprocess.run([tar, "-xf", "metadata"], cwd=tmp_path, check=True)
    assert (tmp_path / "names.json").read_text("utf-8") == '["release notes.txt","übersicht.json"]'
    assert [(tmp_path / name).read_bytes() for name in ("000", "001")] == [data for _, data in METADATA]


def test_gnu_tar_reproduces_metadata_bundle(tmp_path: Path) -> None:
    tar = require("tar")
    create_container(tmp_path, EncryptionAlgorithm.AES128_CTR_NO_PAD, SigningAlgorithm.ED25519, KeyType.ED25519)
    split_container(tmp_path / "container")
    subprocess.run([tar, "-xf", "metadata"], cwd=tmp_path, check=True)
    options = ["--format=ustar", "--mode=0644", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0", "-b1"]
    subprocess.run([tar, *options, "-cf", "rebuilt", "names.json", "000", "001"], cwd=tmp_path, check=True)
    assert (tmp_path / "rebuilt").read_bytes() == (tmp_path / "metadata").read_bytes()


def test_single_metadata_file_is_stored_unwrapped(tmp_path: Path) -> None:
    create_container(
        tmp_path,
        EncryptionAlgorithm.AES128_CTR_NO_PAD,
        SigningAlgorithm.ED25519,
        KeyType.ED25519,
        metadata=(("one.json", b'{"version": 7}'),),
    )
    split_container(tmp_path / "container")
    assert (tmp_path / "metadata").read_bytes() == b'{"version": 7}'


def test_verify_reports_sha256_of_container(tmp_path: Path) -> None:
    path = create_container(tmp_path, EncryptionAlgorithm.AES128_CTR_NO_PAD, SigningAlgorithm.ED25519, KeyType.ED25519)
    with path.open("rb") as source:
        report = get_format("se-1").verify(source, (tmp_path / "certificate.pem").read_bytes())
    assert subprocess.check_output([require("sha256sum"), path], text=True).split()[0] == report.sha256
