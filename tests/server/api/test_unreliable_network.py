"""Test that uploads and downloads resume over a connection that breaks repeatedly."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import Connection, Endpoint
from sealyard.concurrency.clock import SystemClock
from sealyard.model.requests import EncryptionRequest
from sealyard.model.tasks import TaskStatus
from tests.support.limits import TIMEOUT
from tests.support.server_harness import ADMIN, DEV, GATEWAY, run_server
from tests.support.unreliable_proxy import UnreliableProxy

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
SIZE = 48 * MIB
CUTS = 6


async def test_transfers_resume_after_connection_loss(folder: Path, tmp_path: Path) -> None:
    content = random.Random(7).randbytes(SIZE)
    path = tmp_path / "firmware.bin"
    path.write_bytes(content)
    async with run_server({"acme": folder}) as harness:
        port = int(harness.base.rpartition(":")[2])
        upload_proxy = UnreliableProxy(port, cuts=CUTS, first=2 * MIB, last=8 * MIB)
        download_proxy = UnreliableProxy(port, cuts=CUTS, first=2 * MIB, last=8 * MIB, seed=2)
        token = await harness.token(DEV)
        async with upload_proxy.listening() as url:
            client = HttpClient(Connection(Endpoint(url=url, token=token)), SystemClock())
            file = await client.upload(path)
            task = await client.create_encryption(EncryptionRequest(config=GATEWAY, file=file))
            await client.close()
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert upload_proxy.broken == CUTS
        assert upload_proxy.passed < SIZE + CUTS * 4 * MIB
        finished = await harness.engine.client(ADMIN).wait(task.id, within=TIMEOUT)
        assert finished.status is TaskStatus.DONE
        assert finished.result is not None
        async with download_proxy.listening() as url:
            client = HttpClient(Connection(Endpoint(url=url, token=token)), SystemClock())
            digest = hashlib.sha256()
            async for chunk in client.download(task.id):
                digest.update(chunk)
            await client.close()
        assert digest.hexdigest() == finished.result.sha256
        assert download_proxy.broken == CUTS
        assert download_proxy.passed < SIZE + CUTS * 4 * MIB
