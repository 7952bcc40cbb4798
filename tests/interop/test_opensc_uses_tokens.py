"""Test that OpenSC and OpenSSL use the keys that Sealyard generates in tokens, and the reverse."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from sealyard.crypto.algorithms import SIGNATURES, SignatureScheme, SignatureSpec, SigningInput
from sealyard.crypto.signatures import verify
from sealyard.keys.backend import KeyBackend
from sealyard.model.algorithms import HashName, KeyType, SigningAlgorithm
from sealyard.model.backend_keys import BackendKey
from tests.support.extent import IS_FULL
from tests.support.programs import require
from tests.support.softhsm import (
    TOKEN,
    SoftHsm,
    make_secrets,
    make_settings,
    open_token_backend,
    shared_softhsm,
    softhsm,
)

__all__ = ["shared_softhsm", "softhsm"]

pytestmark = pytest.mark.interop

KINDS = [KeyType.RSA_3072, KeyType.EC_P256, KeyType.ED25519]
if IS_FULL:
    KINDS += [KeyType.RSA_2048, KeyType.RSA_4096]
MESSAGE = b"firmware header"

_TOOL_KINDS = {
    KeyType.RSA_2048: "rsa:2048",
    KeyType.RSA_3072: "rsa:3072",
    KeyType.RSA_4096: "rsa:4096",
    KeyType.EC_P256: "EC:prime256v1",
    KeyType.ED25519: "EC:edwards25519",
}


def run_scenario(scenario: Callable[[KeyBackend], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with open_token_backend(make_settings(), make_secrets()) as backend:
            await scenario(backend)

    asyncio.run(run())


def tool_mechanism(spec: SignatureSpec) -> tuple[list[str], bytes]:
    """Return the arguments of ``pkcs11-tool`` for an algorithm, and its input for ``MESSAGE``."""
    if spec.hash is None:
        return ["--mechanism", "EDDSA"], MESSAGE
    digest = hashlib.new(spec.hash, MESSAGE).digest()
    if spec.scheme is SignatureScheme.ECDSA:
        return ["--mechanism", "ECDSA", "--signature-format", "openssl"], digest
    if spec.scheme is SignatureScheme.PKCS1_V15:
        return ["--mechanism", "SHA256-RSA-PKCS"], MESSAGE
    name = spec.hash.upper()
    pss = ["--mechanism", "RSA-PKCS-PSS", "--hash-algorithm", name, "--mgf", f"MGF1-{name}"]
    return [*pss, "--salt-len", str(len(digest))], digest


async def sign(backend: KeyBackend, name: str, key: BackendKey, spec: SignatureSpec) -> bytes:
    """Sign ``MESSAGE``, or its digest if the algorithm signs one."""
    if spec.input is SigningInput.SHA256_DIGEST:
        digest = hashlib.sha256(MESSAGE).digest()
        return await backend.sign(name, key.native_id, spec.algorithm, digest, HashName.SHA256)
    return await backend.sign(name, key.native_id, spec.algorithm, MESSAGE, None)


def check_signature(key: BackendKey, spec: SignatureSpec, signature: bytes) -> None:
    assert key.public_key is not None
    prehashed = spec.input is SigningInput.SHA256_DIGEST
    data = hashlib.sha256(MESSAGE).digest() if prehashed else MESSAGE
    public_key = load_pem_public_key(key.public_key.encode())
    assert verify(public_key, spec.algorithm, data, signature, prehashed=prehashed)


@pytest.mark.parametrize("kind", KINDS)
def test_opensc_verifies_and_signs_with_generated_key(softhsm: SoftHsm, tmp_path: Path, kind: KeyType) -> None:
    async def scenario(backend: KeyBackend) -> None:
        name, key = await backend.generate(f"token={TOKEN};object=sealyard-{kind}", kind)
        select = ["--id", key.native_id]
        assert key.public_key is not None
        public_key = load_pem_public_key(key.public_key.encode())
        for algorithm in key.capabilities.algorithms:
            spec = SIGNATURES[algorithm]
            mechanism, data = tool_mechanism(spec)
            (tmp_path / "input").write_bytes(data)
            (tmp_path / "signature").write_bytes(await sign(backend, name, key, spec))
            files = ["--input-file", str(tmp_path / "input"), "--signature-file", str(tmp_path / "signature")]
            assert b"Signature is valid" in softhsm.run_tool("--verify", *select, *mechanism, *files)
            output = tmp_path / "signature of OpenSC"
            softhsm.run_tool(
                "--sign", *select, *mechanism, "--input-file", str(tmp_path / "input"), "--output-file", str(output)
            )
            check_signature(key, spec, output.read_bytes())
        if kind is not KeyType.ED25519:  # OpenSC 0.23 cannot read these public keys
            read_key = softhsm.run_tool("--read-object", "--type", "pubkey", *select)
            assert read_key == public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    run_scenario(scenario)


@pytest.mark.parametrize("kind", KINDS)
def test_key_generated_by_opensc_signs(softhsm: SoftHsm, kind: KeyType) -> None:
    label, identifier = f"opensc-{kind}", f"a{list(KeyType).index(kind):x}"
    softhsm.run_tool("--keypairgen", "--key-type", _TOOL_KINDS[kind], "--label", label, "--id", identifier)

    async def scenario(backend: KeyBackend) -> None:
        name = f"token={TOKEN};object={label}"
        assert name in [listed.name for listed in await backend.list_keys()]
        key = await backend.describe(name)
        assert (key.kind, key.native_id) == (kind, identifier)
        for algorithm in key.capabilities.algorithms:
            check_signature(key, SIGNATURES[algorithm], await sign(backend, name, key, SIGNATURES[algorithm]))

    run_scenario(scenario)


def openssl_options(spec: SignatureSpec) -> list[str]:
    if spec.scheme is not SignatureScheme.PSS:
        return []
    options = ["rsa_padding_mode:pss", "rsa_pss_saltlen:digest", f"rsa_mgf1_md:{spec.hash}"]
    return [argument for option in options for argument in ("-pkeyopt", option)]


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_verifies_signatures_of_token(softhsm: SoftHsm, tmp_path: Path, kind: KeyType) -> None:
    openssl = require("openssl")

    async def scenario(backend: KeyBackend) -> None:
        name, key = await backend.generate(f"token={TOKEN};object=openssl-{kind}", kind)
        assert key.public_key is not None
        (tmp_path / "key.pem").write_text(key.public_key)
        (tmp_path / "message").write_bytes(MESSAGE)
        for algorithm in key.capabilities.algorithms:
            spec = SIGNATURES[algorithm]
            (tmp_path / "signature").write_bytes(await sign(backend, name, key, spec))
            digest = ["-digest", spec.hash] if spec.hash else []
            command = [openssl, "pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", str(tmp_path / "key.pem"), *digest]
            command += ["-in", str(tmp_path / "message"), "-sigfile", str(tmp_path / "signature")]
            result = subprocess.run([*command, *openssl_options(spec)], capture_output=True, check=False)
            assert result.returncode == 0, (algorithm, result.stdout, result.stderr)

    run_scenario(scenario)


def test_deterministic_signatures_equal_those_of_openssl(softhsm: SoftHsm, tmp_path: Path) -> None:
    openssl = require("openssl")
    rows = (
        (("-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"), SigningAlgorithm.SHA256_PKCS_V15_2048),
        (("-algorithm", "ED25519"), SigningAlgorithm.ED25519),
    )
    (tmp_path / "message").write_bytes(MESSAGE)

    async def scenario(backend: KeyBackend) -> None:
        for number, (options, algorithm) in enumerate(rows):
            path, label = tmp_path / "key.pem", f"imported-{number}"
            subprocess.run([openssl, "genpkey", *options, "-out", str(path)], check=True, capture_output=True)
            softhsm.import_key(path, label, f"b{number}")
            digest = ["-digest", "sha256"] if SIGNATURES[algorithm].hash else []
            command = [openssl, "pkeyutl", "-sign", "-rawin", "-inkey", str(path), "-in", str(tmp_path / "message")]
            expected = subprocess.run([*command, *digest], check=True, capture_output=True).stdout
            name = f"token={TOKEN};object={label}"
            key = await backend.describe(name)
            assert await backend.sign(name, key.native_id, algorithm, MESSAGE, None) == expected

    run_scenario(scenario)
