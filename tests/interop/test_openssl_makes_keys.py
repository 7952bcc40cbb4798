"""Test the import of keys and certificates created by openssl, keytool and certtool."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from sealyard.crypto.certificates import load_certificate
from sealyard.keys.local import LocalKeyProvider
from sealyard.model.algorithms import KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.errors import InvalidKeyError
from sealyard.model.keys import KeyInfo
from tests.support.programs import require

pytestmark = pytest.mark.interop

PASSWORD = "a canary among passwords"
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
    certificate_content = certificate.read_bytes() if certificate is not None else None
    return asyncio.run(
        keys.import_key("imported", path.read_bytes(), kind, KeyPurpose.DATA, password, certificate_content)
    )


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


# Other programs' files


@pytest.fixture
def chain(openssl: str, tmp_path: Path) -> dict[str, Path]:
    """Create a key, its certificate, and the certificate of its authority."""
    files = {name: tmp_path / f"{name}.pem" for name in ("key", "leaf", "ca", "ca-key", "request")}
    for key in ("key", "ca-key"):
        run_command(openssl, "genpkey", *P256, "-out", str(files[key]))
    run_command(openssl, "req", "-x509", "-key", str(files["ca-key"]), "-subj", "/CN=Corp CA", "-out", str(files["ca"]))
    run_command(openssl, "req", "-new", "-key", str(files["key"]), "-subj", "/CN=Signer", "-out", str(files["request"]))
    run_command(openssl, "x509", "-req", "-in", str(files["request"]), "-CA", str(files["ca"]), "-CAkey",
        str(files["ca-key"]), "-CAcreateserial", "-days", "30", "-out", str(files["leaf"]))  # fmt: skip
    return files


@pytest.mark.parametrize("extra", [(), ("-legacy",)])
def test_pem_from_pkcs12_has_the_certificate_of_pkcs12(
    openssl: str, tmp_path: Path, chain: dict[str, Path], extra: tuple[str, ...]
) -> None:
    bundle, pem = tmp_path / "bundle.p12", tmp_path / "bundle.pem"
    run_command(openssl, "pkcs12", "-export", "-inkey", str(chain["key"]), "-in", str(chain["leaf"]), "-certfile",
        str(chain["ca"]), "-out", str(bundle), "-passout", f"pass:{PASSWORD}", *extra)  # fmt: skip
    run_command(openssl, "pkcs12", "-in", str(bundle), "-out", str(pem), "-passin", f"pass:{PASSWORD}", "-nodes",
        *extra)  # fmt: skip
    from_pkcs12 = import_key(tmp_path / "a", bundle, KeyType.EC_P256, PASSWORD)
    from_pem = import_key(tmp_path / "b", pem, KeyType.EC_P256, None)
    assert from_pkcs12.current.certificate == from_pem.current.certificate == read_certificate(chain["leaf"])


def test_chain_of_openssl_is_read_in_any_order(openssl: str, tmp_path: Path, chain: dict[str, Path]) -> None:
    path = tmp_path / "chain"
    path.write_text(chain["ca"].read_text() + chain["leaf"].read_text())
    info = import_key(tmp_path / "a", chain["key"], KeyType.EC_P256, None, path)
    assert info.current.certificate == read_certificate(chain["leaf"])
    run_command(openssl, "crl2pkcs7", "-nocrl", "-certfile", str(path), "-out", str(tmp_path / "chain.p7b"))
    info = import_key(tmp_path / "b", chain["key"], KeyType.EC_P256, None, tmp_path / "chain.p7b")
    assert info.current.certificate == read_certificate(chain["leaf"])


@pytest.mark.parametrize(("kind", "options", "algorithm"), KEYS)
def test_certificate_is_renewed_by_certificate_request(
    openssl: str,
    tmp_path: Path,
    chain: dict[str, Path],
    kind: KeyType,
    options: tuple[str, ...],
    algorithm: SigningAlgorithm,
) -> None:
    run_command(openssl, "genpkey", *options, "-out", str(tmp_path / "own-key"))
    info = import_key(tmp_path / "a", tmp_path / "own-key", kind, None)
    keys = LocalKeyProvider(tmp_path / "a" / "keys", bytes(32))
    request, renewed = tmp_path / "own-request", tmp_path / "renewed"
    request.write_text(asyncio.run(keys.create_certificate_request("imported", 1)))
    run_command(openssl, "req", "-in", str(request), "-verify", "-noout")
    run_command(openssl, "x509", "-req", "-in", str(request), "-CA", str(chain["ca"]), "-CAkey",
        str(chain["ca-key"]), "-CAcreateserial", "-days", "30", "-out", str(renewed))  # fmt: skip
    bundle = tmp_path / "bundle"
    bundle.write_text(chain["ca"].read_text() + renewed.read_text())
    version = asyncio.run(keys.import_certificate("imported", 1, bundle.read_bytes()))
    assert version.fingerprint == info.current.fingerprint
    assert version.certificate == read_certificate(renewed)
    run_command(openssl, "verify", "-CAfile", str(chain["ca"]), str(renewed))

    (tmp_path / "message").write_bytes(b"message")
    (tmp_path / "certificate").write_text(version.certificate or "")
    digest = () if kind is KeyType.ED25519 else ("-digest", "sha256")
    for number in (1, 2):
        signer = asyncio.run(keys.signer("imported", number, algorithm))
        (tmp_path / "signature").write_bytes(asyncio.run(signer.sign(b"message")))
        run_command(openssl, "pkeyutl", "-verify", "-certin", "-inkey", str(tmp_path / "certificate"), "-rawin",
            *digest, "-in", str(tmp_path / "message"), "-sigfile", str(tmp_path / "signature"))  # fmt: skip


def test_certificate_with_forced_public_key_is_imported(openssl: str, tmp_path: Path, chain: dict[str, Path]) -> None:
    """An authority can issue the certificate from the public key alone, without a request."""
    import_key(tmp_path / "a", chain["key"], KeyType.EC_P256, None)
    keys = LocalKeyProvider(tmp_path / "a" / "keys", bytes(32))
    public, request, forced = (tmp_path / name for name in ("public", "ca-request", "forced"))
    public.write_text(asyncio.run(keys.get_info("imported")).current.public_key or "")
    run_command(openssl, "req", "-new", "-key", str(chain["ca-key"]), "-subj", "/CN=Signer", "-out", str(request))
    run_command(openssl, "x509", "-req", "-in", str(request), "-force_pubkey", str(public), "-CA", str(chain["ca"]),
        "-CAkey", str(chain["ca-key"]), "-CAcreateserial", "-outform", "DER", "-out", str(forced))  # fmt: skip
    version = asyncio.run(keys.import_certificate("imported", 1, forced.read_bytes()))
    assert load_certificate((version.certificate or "").encode()).subject == "Signer"
    with pytest.raises(InvalidKeyError, match="a different key"):
        asyncio.run(keys.import_certificate("imported", 1, chain["ca"].read_bytes()))


def read_certificate(path: Path) -> str:
    return load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.PEM).decode()


def test_keytool_store_of_several_keys(tmp_path: Path) -> None:
    keytool = require("keytool")
    store = tmp_path / "store.p12"
    ec_options, rsa_options = ("-keyalg", "EC", "-groupname", "secp256r1"), ("-keyalg", "RSA", "-keysize", "2048")
    for alias, options in (("first", ec_options), ("second", ec_options), ("third", rsa_options)):
        run_command(keytool, "-genkeypair", "-keystore", str(store), "-storetype", "PKCS12", "-storepass", PASSWORD,
            "-alias", alias, "-dname", f"CN={alias}", *options)  # fmt: skip
    certificate = tmp_path / "second.pem"
    run_command(keytool, "-exportcert", "-rfc", "-keystore", str(store), "-storepass", PASSWORD, "-alias", "second",
        "-file", str(certificate))  # fmt: skip
    with pytest.raises(InvalidKeyError, match=r"2 keys of type EC_P256: \w+ \(first\); \w+ \(second\)\."):
        import_key(tmp_path / "a", store, KeyType.EC_P256, PASSWORD)
    info = import_key(tmp_path / "b", store, KeyType.EC_P256, PASSWORD, certificate)
    assert load_certificate((info.current.certificate or "").encode()).subject == "second"
    info = import_key(tmp_path / "c", store, KeyType.RSA_2048, PASSWORD)
    assert load_certificate((info.current.certificate or "").encode()).subject == "third"


@pytest.mark.parametrize("encryption", [(), ("--pkcs8", "--password", PASSWORD)])
def test_ec_keys_of_certtool(tmp_path: Path, encryption: tuple[str, ...]) -> None:
    """GnuTLS 3.7 writes about half of all EC keys with 33 bytes."""
    certtool = require("certtool")
    for number in range(12):
        path = tmp_path / f"{number}.pem"
        run_command(certtool, "--generate-privkey", "--no-text", "--key-type", "ecdsa", "--curve", "secp256r1",
            *encryption, "--outfile", str(path))  # fmt: skip
        import_key(tmp_path / str(number), path, KeyType.EC_P256, PASSWORD if encryption else None)


def test_files_without_password_or_key(openssl: str, tmp_path: Path, chain: dict[str, Path]) -> None:
    bundle, public, der = (tmp_path / name for name in ("bundle.p12", "public", "der"))
    run_command(openssl, "pkcs12", "-export", "-inkey", str(chain["key"]), "-in", str(chain["leaf"]), "-out",
        str(bundle), "-passout", f"pass:{PASSWORD}")  # fmt: skip
    with pytest.raises(InvalidKeyError, match=r"is encrypted\. Enter its password"):
        import_key(tmp_path / "a", bundle, KeyType.EC_P256, None)
    run_command(openssl, "pkey", "-in", str(chain["key"]), "-pubout", "-out", str(public))
    with pytest.raises(InvalidKeyError, match="only a public key"):
        import_key(tmp_path / "b", public, KeyType.EC_P256, None)
    run_command(openssl, "pkey", "-in", str(chain["key"]), "-outform", "DER", "-out", str(der))
    assert import_key(tmp_path / "c", der, KeyType.EC_P256, None).current.origin == "imported"
