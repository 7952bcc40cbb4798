"""The key services in a confined provider process: the network, the CA file and the SDK can be used."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sealyard.concurrency.loop_thread import LoopThread, proxy_to_thread
from sealyard.crypto.signatures import verify
from sealyard.keys.backend import KeyBackend
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.errors import NotFoundError
from sealyard.model.provider_messages import OpenProvider, ProviderFailed, ProviderReady
from sealyard.model.provider_settings import ProcessSettings, Secrets
from sealyard.worker.provider_client import ProviderClient
from tests.support.ministack import ROOT, MiniStack
from tests.support.openbao import MOUNT, OpenBao, run_openbao
from tests.support.provider_process import ProviderProcess
from tests.support.tls_certificates import create_cert_pair

NETWORK = ProcessSettings(network=True)


@contextmanager
def connected(request: OpenProvider) -> Iterator[KeyBackend]:
    """Run a provider process, and connect to it as a worker does."""
    process = ProviderProcess()
    worker_end, provider_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    thread = LoopThread("client")
    try:
        with worker_end, provider_end:
            response = process.open(request)
            assert isinstance(response, ProviderReady), response
            process.connect(provider_end)
            client = ProviderClient(worker_end.fileno(), "test")

            async def start() -> None:
                client.start()

            asyncio.run(thread.call(start()))
            yield proxy_to_thread(client, thread)
    finally:
        thread.stop()
        process.close()


async def use_keys(backend: KeyBackend, prefix: str) -> None:
    await backend.probe()
    name, key = await backend.generate(f"{prefix}test-{token_hex(6)}", KeyType.EC_P256)
    assert name in [listed.name for listed in await backend.list_keys()]
    algorithm = SigningAlgorithm.ECC_NIST_P256
    signature = await backend.sign(name, key.native_id, algorithm, b"message", None)
    assert key.public_key is not None
    assert verify(load_pem_public_key(key.public_key.encode()), algorithm, b"message", signature, prehashed=False)
    name, key = await backend.generate(f"{prefix}test-{token_hex(6)}", KeyType.AES_256)
    wrapped = await backend.wrap(name, key.native_id, b"secret", b"context")
    assert await backend.unwrap(name, key.native_id, wrapped, b"context") == b"secret"
    with pytest.raises(NotFoundError):
        await backend.describe(f"{prefix}unknown")


def test_vault_with_ca_file_is_used(tmp_path: Path) -> None:
    certificate, key = create_cert_pair(tmp_path, "server")
    folder = tmp_path / "openbao"
    folder.mkdir()
    with run_openbao(folder, certificate, key) as server:
        role_id, secret_id = server.create_role()
        request = OpenProvider(
            settings=server.settings(role_id=role_id, ca_file=str(certificate)),
            secrets=Secrets(values={"secret_id": secret_id}),
            process=NETWORK,
            readable_paths=(str(certificate),),
        )
        with connected(request) as backend:
            asyncio.run(use_keys(backend, f"{MOUNT}/"))


def test_aws_kms_is_used(ministack: MiniStack) -> None:
    request = OpenProvider(settings=ministack.settings(), secrets=ROOT, process=NETWORK)
    with connected(request) as backend:
        asyncio.run(use_keys(backend, "alias/"))


def test_service_without_network_is_unavailable(openbao: OpenBao, ministack: MiniStack) -> None:
    for settings, secrets in (openbao.approle(), (ministack.settings(), ROOT)):
        process = ProviderProcess()
        response = process.open(OpenProvider(settings=settings, secrets=secrets))
        process.close()
        assert isinstance(response, ProviderFailed)
        assert "is not reachable" in response.error.message
