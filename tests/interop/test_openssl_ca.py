"""Test certificates that a small authority of root and intermediate issues with ``openssl ca``."""

from __future__ import annotations

import itertools
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sealyard.keys.key_import import load_certificate_of
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.errors import InvalidKeyError
from tests.support.cli_runner import environment
from tests.support.extent import choose_cases
from tests.support.openssl_ca import OpensslAuthority, verifies
from tests.support.programs import require

pytestmark = pytest.mark.interop

PSS = ("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest")
VERIFY_OPTIONS = {
    SigningAlgorithm.SHA256_PKCS_V15_2048: (),
    SigningAlgorithm.SHA256_ECDSA: (),
    SigningAlgorithm.SHA256_PSS: PSS,
}


class Authorities(NamedTuple):
    root: OpensslAuthority
    issuer: OpensslAuthority


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    root = OpensslAuthority(tmp_path / "root", "Corp root")
    return Authorities(root, OpensslAuthority(tmp_path / "issuer", "Corp issuer", root, "issuer"))


def run(folder: Path, *arguments: object) -> str:
    result = subprocess.run(
        [str(each) for each in arguments],
        cwd=folder,
        env={**environment(folder / "home"), "SEALYARD_WORKSPACE": str(folder / "workspace")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def sealyard(folder: Path, *arguments: object) -> str:
    return run(folder, sys.executable, "-m", "sealyard.cli.main", *arguments)


def read_json(folder: Path, *arguments: object) -> Any:
    return json.loads(sealyard(folder, *arguments, "--json"))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    sealyard(tmp_path, "init", "--name", "yard", "--admin", "USER:olga", "--key-store", "passphrase")
    for name in ("dev", "owner"):
        sealyard(tmp_path, "subject", "add", f"USER:{name}")
        sealyard(tmp_path, "profile", "add", name, "--identity", f"USER:{name}")
    return tmp_path


@pytest.mark.parametrize("algorithm", choose_cases(list(VERIFY_OPTIONS), share=1))
def test_package_is_verified_with_the_chain(
    workspace: Path, authorities: Authorities, algorithm: SigningAlgorithm
) -> None:
    sealyard(workspace, "device", "create", "gateway", "--encryption", "AES256_CBC_PKCS7_PAD", "--signing", algorithm,
        "--use", "USER:dev", "--approve", "USER:owner")  # fmt: skip
    request = workspace / "request.pem"
    request.write_text(sealyard(workspace, "key", "csr", "local:gateway-signing"))
    leaf = authorities.issuer.issue(request)
    chain = workspace / "chain.pem"
    root, issuer = authorities.root.certificate, authorities.issuer.certificate
    chain.write_text(root.read_text() + leaf.read_text() + issuer.read_text())
    key = read_json(workspace, "key", "certificate", "local:gateway-signing", "--chain", chain)
    assert [issuer["subject"] for issuer in key["versions"][1]["issuers"]] == ["CN=Corp issuer"]
    shown = sealyard(workspace, "--profile", "dev", "device", "show", "gateway")
    assert "CN=gateway-signing, issued by CN=Corp issuer (chain of 2 certificates); expires" in shown

    (workspace / "firmware.bin").write_bytes(b"firmware")
    task = read_json(workspace, "--profile", "dev", "package", "--device", "gateway", "--firmware", "firmware.bin")
    sealyard(workspace, "--profile", "owner", "approve", task["id"])
    sealyard(workspace, "--profile", "dev", "download", task["id"], "--out", "downloads")
    (container,) = (path for path in (workspace / "downloads").iterdir() if path.suffix != ".pem")
    split_container(workspace, container)

    printed = sealyard(workspace, "--profile", "dev", "device", "certificates", "gateway")
    (workspace / "printed.pem").write_text(printed)
    openssl = require("openssl")
    run(workspace, openssl, "verify", "-x509_strict", "-CAfile", root, "-untrusted", "printed.pem", "printed.pem")
    (workspace / "public.pem").write_text(run(workspace, openssl, "x509", "-in", "printed.pem", "-pubkey", "-noout"))
    run(workspace, openssl, "dgst", "-sha256", *VERIFY_OPTIONS[algorithm], "-verify", "public.pem", "-signature",
        "signature", "header")  # fmt: skip


def split_container(folder: Path, container: Path) -> None:
    """Write the files ``header`` and ``signature`` of a container with one segment."""
    data = container.read_bytes()
    metadata_length, _, _, count = struct.unpack_from("<HHHB", data, 9)
    assert count == 1
    header_length = 16 + 36 + metadata_length
    (segment_length,) = struct.unpack_from("<I", data, 16)
    (folder / "header").write_bytes(data[:header_length])
    (folder / "signature").write_bytes(data[header_length + segment_length :])


# ---- chains


class Request(NamedTuple):
    path: Path
    public_key: bytes


@pytest.fixture
def request_file(tmp_path: Path) -> Request:
    openssl, key, request = require("openssl"), tmp_path / "signer-key.pem", tmp_path / "signer.csr"
    options = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key)
    run(tmp_path, openssl, "req", *options, "-subj", "/CN=Signer", "-out", request)
    return Request(request, run(tmp_path, openssl, "pkey", "-in", key, "-pubout").encode())


def load(request: Request, *paths: Path) -> bytes:
    content = b"".join(path.read_bytes() for path in paths)
    return load_certificate_of(load_pem_public_key(request.public_key), content)


def test_chain_is_accepted_in_any_order_and_format(
    tmp_path: Path, authorities: Authorities, request_file: Request
) -> None:
    leaf = authorities.issuer.issue(request_file.path)
    root, issuer = authorities.root.certificate, authorities.issuer.certificate
    expected = leaf.read_bytes() + issuer.read_bytes()
    for files in (*itertools.permutations((leaf, issuer, root)), (leaf, issuer), (issuer, leaf)):
        assert load(request_file, *files) == expected
    bundle, pkcs7 = tmp_path / "bundle", tmp_path / "bundle.p7b"
    bundle.write_bytes(root.read_bytes() + leaf.read_bytes() + issuer.read_bytes())
    for encoding in ("PEM", "DER"):
        run(
            tmp_path,
            require("openssl"),
            "crl2pkcs7",
            "-nocrl",
            "-certfile",
            bundle,
            "-outform",
            encoding,
            "-out",
            pkcs7,
        )
        assert load(request_file, pkcs7) == expected


@pytest.mark.parametrize(
    ("profile", "options", "words"),
    [
        ("signer", ("-startdate", "200101000000Z", "-enddate", "210101000000Z"), "expired on 2021-01-01"),
        ("signer", ("-startdate", "490101000000Z", "-enddate", "490201000000Z"), "is not valid before 2049-01-01"),
        ("signer", ("-md", "sha1"), "is signed with SHA1, which is not accepted"),
        ("server", (), "is not for code signing"),
        ("encipherment", (), "is not for signatures"),
    ],
)
def test_unsuitable_certificate_is_rejected(
    authorities: Authorities, request_file: Request, profile: str, options: tuple[str, ...], words: str
) -> None:
    leaf = authorities.issuer.issue(request_file.path, profile, *options)
    with pytest.raises(InvalidKeyError, match=f'The certificate of "Signer" {words}'):
        load(request_file, leaf, authorities.issuer.certificate, authorities.root.certificate)


@pytest.mark.parametrize(
    ("profile", "words"),
    [("signer", '"Below" is not that of a certificate authority'), ("issuer", '"Corp issuer" allows 0 intermediate')],
)
def test_chain_that_openssl_rejects_is_rejected(
    tmp_path: Path, authorities: Authorities, request_file: Request, profile: str, words: str
) -> None:
    below = OpensslAuthority(tmp_path / "below", "Below", authorities.issuer, profile)
    issuers = (below.certificate, authorities.issuer.certificate)
    leaf = below.issue(request_file.path)
    assert not verifies(authorities.root.certificate, leaf, *issuers)
    with pytest.raises(InvalidKeyError, match=words):
        load(request_file, leaf, *issuers, authorities.root.certificate)


def test_equal_name_makes_no_issuer(tmp_path: Path, authorities: Authorities, request_file: Request) -> None:
    other = OpensslAuthority(tmp_path / "other", "Corp issuer", authorities.root, "issuer")
    leaf = authorities.issuer.issue(request_file.path)
    assert not verifies(authorities.root.certificate, leaf, other.certificate)
    with pytest.raises(InvalidKeyError, match='is not signed by the key of "Corp issuer" in the file'):
        load(request_file, leaf, other.certificate, authorities.root.certificate)


def test_signature_of_the_root_is_not_checked(tmp_path: Path, request_file: Request) -> None:
    """Many roots are older than the algorithms that are accepted today."""
    root = OpensslAuthority(tmp_path / "old", "Old root", digest="sha1")
    leaf = root.issue(request_file.path)
    assert load(request_file, root.certificate, leaf) == leaf.read_bytes()
