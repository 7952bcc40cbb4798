"""Measure signatures per second of the key services, beside their own clients in the same run.

The services run on this machine, OpenBao itself and an emulator of AWS KMS, so that the network takes no time.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from sealyard.keys.backend import KeyBackend
from sealyard.keys.backends.aws_kms.backend import AwsKmsBackend
from sealyard.keys.backends.vault.backend import VaultBackend
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from tests.benchmarks.rows import Row
from tests.benchmarks.workspaces import temporary_dir
from tests.support.ministack import ROOT, MiniStack, run_ministack
from tests.support.openbao import MOUNT, OpenBao, require_openbao, run_openbao

SIGNATURES = 1000
PROGRAM_RUNS = 10
MAX_PARALLEL = 8
MESSAGE = bytes(200)
ALGORITHM = SigningAlgorithm.ECC_NIST_P256


def rows() -> list[Row]:
    with temporary_dir() as root:
        folders = [root / name for name in ("openbao", "ministack")]
        for folder in folders:
            folder.mkdir()
        return [*_vault_rows(folders[0]), *_aws_kms_rows(folders[1])]


def _vault_rows(folder: Path) -> list[Row]:
    with run_openbao(folder) as server:
        name = f"{MOUNT}/gateway-sign"
        rate = asyncio.run(_measure_backend(lambda: VaultBackend.open(*server.approle()), name))
        api_rate = _measure_api(server)
        program_rate = _measure_program(server)
    return [
        Row("signatures per second of OpenBao, P-256, 8 in parallel", rate, "reported", "/s"),
        Row("signatures per second of OpenBao, relative to its HTTP API directly", rate / api_rate, "reported"),
        Row("signatures per second of OpenBao, relative to the program bao", rate / program_rate, "reported"),
    ]


def _aws_kms_rows(folder: Path) -> list[Row]:
    with run_ministack(folder) as server:
        rate = asyncio.run(_measure_backend(lambda: AwsKmsBackend.open(server.settings(), ROOT), "alias/gateway-sign"))
        sdk_rate = _measure_sdk(server)
    return [
        Row("signatures per second of the emulator of AWS KMS, P-256, 8 in parallel", rate, "reported", "/s"),
        Row("signatures per second of the emulator of AWS KMS, relative to boto3", rate / sdk_rate, "reported"),
    ]


async def _measure_backend(open_backend: Callable[[], Any], name: str) -> float:
    backend: KeyBackend = await open_backend()
    canonical_name, key = await backend.generate(name, KeyType.EC_P256)
    slots = asyncio.Semaphore(MAX_PARALLEL)

    async def sign() -> None:
        async with slots:
            await backend.sign(canonical_name, key.native_id, ALGORITHM, MESSAGE, None)

    await asyncio.gather(*(sign() for _ in range(MAX_PARALLEL)))
    started_at = time.perf_counter()
    await asyncio.gather(*(sign() for _ in range(SIGNATURES)))
    rate = SIGNATURES / (time.perf_counter() - started_at)
    await backend.close()
    return rate


def _measure_threads(sign: Callable[[], object]) -> float:
    with ThreadPoolExecutor(MAX_PARALLEL) as executor:
        list(executor.map(lambda _: sign(), range(MAX_PARALLEL)))
        started_at = time.perf_counter()
        list(executor.map(lambda _: sign(), range(SIGNATURES)))
        return SIGNATURES / (time.perf_counter() - started_at)


def _measure_api(server: OpenBao) -> float:
    body = {"input": base64.b64encode(MESSAGE).decode(), "hash_algorithm": "sha2-256"}
    headers = {"X-Vault-Token": server.root_token}
    with httpx.Client(base_url=f"{server.url}/v1/", headers=headers, trust_env=False) as client:
        return _measure_threads(lambda: client.post(f"{MOUNT}/sign/gateway-sign", json=body).raise_for_status())


def _measure_program(server: OpenBao) -> float:
    command = [str(require_openbao()), "write", f"{MOUNT}/sign/gateway-sign"]
    environment = {"BAO_ADDR": server.url, "BAO_TOKEN": server.root_token}
    started_at = time.perf_counter()
    for _ in range(PROGRAM_RUNS):
        subprocess.run(
            [*command, f"input={base64.b64encode(MESSAGE).decode()}"],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    return PROGRAM_RUNS / (time.perf_counter() - started_at)


def _measure_sdk(server: MiniStack) -> float:
    client = server.client("kms")
    parameters = {"KeyId": "alias/gateway-sign", "Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    return _measure_threads(lambda: client.sign(**parameters))
