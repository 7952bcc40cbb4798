"""Measure signatures per second of a PKCS#11 token, beside python-pkcs11 and ``pkcs11-tool`` in the same run."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pkcs11
from pkcs11 import MGF, Mechanism, ObjectClass

from sealyard.keys.backend import KeyBackend
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from tests.benchmarks.rows import Row
from tests.benchmarks.workspaces import temporary_dir
from tests.support.softhsm import CONFIG_VARIABLE, PIN, TOKEN, SoftHsm, make_secrets, make_settings, open_token_backend

SIGNATURES = 2000
RSA_SIGNATURES = 400
PROGRAM_RUNS = 20
MAX_PARALLEL = 8
MESSAGE = bytes(200)
DIGEST = hashlib.sha256(MESSAGE).digest()

KEYS: dict[KeyType, tuple[SigningAlgorithm, bytes, dict[str, Any]]] = {
    KeyType.EC_P256: (SigningAlgorithm.ECC_NIST_P256, DIGEST, {"mechanism": Mechanism.ECDSA}),
    KeyType.ED25519: (SigningAlgorithm.ED25519, MESSAGE, {"mechanism": Mechanism.EDDSA}),
    KeyType.RSA_3072: (
        SigningAlgorithm.RSA_3072,
        DIGEST,
        {"mechanism": Mechanism.RSA_PKCS_PSS, "mechanism_param": (Mechanism.SHA256, MGF.SHA256, len(DIGEST))},
    ),
}
"""The algorithm of each type, and the input and mechanism of python-pkcs11 for the same signature."""


def rows() -> list[Row]:
    with temporary_dir() as root:
        hsm = SoftHsm(root)
        hsm.create_token()
        os.environ[CONFIG_VARIABLE] = str(hsm.config)
        native_ids = asyncio.run(_generate_keys())
        result = [row for kind in KEYS for row in _measure_kind(kind)]
        rate, serial_rate = (asyncio.run(_measure_backend(KeyType.RSA_3072, serial=serial)) for serial in (False, True))
        program_rate = _measure_program(hsm, native_ids[KeyType.EC_P256], root)
    return [
        *result,
        Row(
            "signatures per second of SoftHSM, RSA-3072, relative to one call at a time", rate / serial_rate, "reported"
        ),
        Row("signatures per second of pkcs11-tool, P-256, one run each", program_rate, "reported", "/s"),
    ]


async def _generate_keys() -> dict[KeyType, str]:
    async with open_token_backend(make_settings(), make_secrets()) as backend:
        return {kind: (await backend.generate(_name_key(kind), kind))[1].native_id for kind in KEYS}


def _name_key(kind: KeyType) -> str:
    return f"token={TOKEN};object={kind}"


def _measure_kind(kind: KeyType) -> list[Row]:
    rate = asyncio.run(_measure_backend(kind))
    library_rate = _measure_library(kind)
    return [
        Row(f"signatures per second of SoftHSM, {kind}, {MAX_PARALLEL} in parallel", rate, "reported", "/s"),
        Row(
            f"signatures per second of SoftHSM, {kind}, relative to python-pkcs11 in one thread",
            rate / library_rate,
            "reported",
        ),
    ]


def _count_signatures(kind: KeyType) -> int:
    return RSA_SIGNATURES if kind is KeyType.RSA_3072 else SIGNATURES


async def _measure_backend(kind: KeyType, *, serial: bool = False) -> float:
    async with open_token_backend(make_settings(serial=serial), make_secrets()) as backend:
        name = _name_key(kind)
        native_id = (await backend.describe(name)).native_id
        return await _measure_signatures(backend, name, native_id, kind)


async def _measure_signatures(backend: KeyBackend, name: str, native_id: str, kind: KeyType) -> float:
    slots = asyncio.Semaphore(MAX_PARALLEL)
    algorithm, count = KEYS[kind][0], _count_signatures(kind)

    async def sign() -> None:
        async with slots:
            await backend.sign(name, native_id, algorithm, MESSAGE, None)

    await asyncio.gather(*(sign() for _ in range(MAX_PARALLEL)))
    started_at = time.perf_counter()
    await asyncio.gather(*(sign() for _ in range(count)))
    return count / (time.perf_counter() - started_at)


def _measure_library(kind: KeyType) -> float:
    """Sign with python-pkcs11 directly, which permits only one thread."""
    library = pkcs11.lib(SoftHsm.module)
    _, data, mechanism = KEYS[kind]
    with library.get_token(token_label=TOKEN).open(user_pin=PIN) as session:
        key: Any = session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=str(kind))
        rate = _measure_calls(_count_signatures(kind), lambda: key.sign(data, **mechanism))
    library.finalize()
    return rate


def _measure_program(hsm: SoftHsm, native_id: str, folder: Path) -> float:
    (folder / "digest").write_bytes(DIGEST)
    arguments = ["--sign", "--mechanism", "ECDSA", "--id", native_id]
    arguments += ["--input-file", str(folder / "digest"), "--output-file", str(folder / "signature")]
    return _measure_calls(PROGRAM_RUNS, lambda: hsm.run_tool(*arguments))


def _measure_calls(count: int, call: Callable[[], object]) -> float:
    call()
    started_at = time.perf_counter()
    for _ in range(count):
        call()
    return count / (time.perf_counter() - started_at)
