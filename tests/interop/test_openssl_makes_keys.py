"""Test the import of keys and certificates created by openssl."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from sealyard.keys.local import LocalKeyProvider
from sealyard.model.algorithms import KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidKeyError
from sealyard.model.keys import KeyInfo
from tests.support.programs import require

pytestmark = pytest.mark.interop

PASSWORD = "correct horse"
RSA_2048 = ("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
P256 = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
ED25519 = ("-algorithm", "ED25519")
KEYS = [
    (KeyType.RSA_2048, RSA_2048, SigningAlgorithm.SHA256_PKCS_V15_2048),
    (KeyType.EC_P256, P256, SigningAlgorithm.SHA256_ECDSA),
    (KeyType.ED25519, ED25519, SigningAlgorithm.ED25519),
]


def run_command(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def openssl() -> str:
    return require("openssl")


def import_key(
    folder: Path, path: Path, kind: KeyType, password: str | None, certificate: Path | None = None
) -> KeyInfo:
    keys = LocalKeyProvider(folder / "keys", bytes(32))
    return asyncio.run(keys.import_key("imported", path, kind, KeyPurpose.DATA, password, certificate))


@pytest.mark.parametrize(("kind", "options", "algorithm"), KEYS)
@pytest.mark.parametrize("password", [None, PASSWORD])
def test_imported_pem_key_signature_verifies_with_openssl(
    openssl: str,
    tmp_path: Path,
    kind: KeyType,
    options: tuple[str, ...],
    algorithm: SigningAlgorithm,
    password: str | None,
) -> None:
    encrypted = ("-aes256", "-pass", f"pass:{password}") if password else ()
    run_command(openssl, "genpkey", *options, *encrypted, "-out", str(tmp_path / "key"))
    info = import_key(tmp_path, tmp_path / "key", kind, password)
    signer = asyncio.run(LocalKeyProvider(tmp_path / "keys", bytes(32)).signer("imported", 1, algorithm))
    (tmp_path / "message").write_bytes(b"message")
    (tmp_path / "signature").write_bytes(asyncio.run(signer.sign(b"message")))
    (tmp_path / "public").write_text(info.current.public_key or "")
    digest = () if kind is KeyType.ED25519 else ("-digest", "sha256")
    run_command(openssl, "pkeyutl", "-verify", "-pubin", "-inkey", str(tmp_path / "public"), "-rawin", *digest,
        "-in", str(tmp_path / "message"), "-sigfile", str(tmp_path / "signature"))  # fmt: skip


@pytest.mark.parametrize(("kind", "options", "algorithm"), KEYS)
@pytest.mark.parametrize("bundled", [True, False])
def test_certificate_is_imported_with_its_key(
    openssl: str, tmp_path: Path, kind: KeyType, options: tuple[str, ...], algorithm: SigningAlgorithm, bundled: bool
) -> None:
    key, certificate, bundle = (str(tmp_path / name) for name in ("key", "crt", "p12"))
    run_command(openssl, "genpkey", *options, "-out", key)
    run_command(openssl, "req", "-x509", "-key", key, "-subj", "/CN=Test", "-days", "30", "-out", certificate)
    run_command(
        openssl, "pkcs12", "-export", "-inkey", key, "-in", certificate, "-out", bundle, "-passout", f"pass:{PASSWORD}"
    )
    if bundled:
        info = import_key(tmp_path, Path(bundle), kind, PASSWORD)
    else:
        info = import_key(tmp_path, Path(key), kind, None, Path(certificate))
    assert info.current.certificate == Path(certificate).read_text()


def test_key_on_unsupported_curve_is_rejected(openssl: str, tmp_path: Path) -> None:
    run_command(
        openssl, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521", "-out", str(tmp_path / "other")
    )
    with pytest.raises(InvalidKeyError):
        import_key(tmp_path, tmp_path / "other", KeyType.EC_P256, None)
    run_command(openssl, "genpkey", "-algorithm", "X25519", "-out", str(tmp_path / "x25519"))
    with pytest.raises(InvalidKeyError):
        import_key(tmp_path, tmp_path / "x25519", KeyType.ED25519, None)
