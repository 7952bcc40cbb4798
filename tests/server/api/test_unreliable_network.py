"""Uploads and downloads over a line that breaks again and again: whole, and resumed instead of begun anew."""

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
from tests.support.server_harness import ADMIN, DEV, GATEWAY, run_server
from tests.support.unreliable_proxy import UnreliableProxy

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
SIZE = 48 * MIB
CUTS = 6


async def test_what_goes_up_and_down_a_broken_line_is_byte_equal_and_was_resumed(folder: Path, tmp_path: Path) -> None:
    content = random.Random(7).randbytes(SIZE)
    path = tmp_path / "firmware.bin"
    path.write_bytes(content)
    async with run_server({"yard": folder}) as yard:
        port = int(yard.base.rpartition(":")[2])
        up = UnreliableProxy(port, cuts=CUTS, first=2 * MIB, last=8 * MIB)
        down = UnreliableProxy(port, cuts=CUTS, first=2 * MIB, last=8 * MIB, seed=2)
        token = await yard.token(DEV)
        async with up.listening() as url:
            client = HttpClient(Connection(Endpoint(url=url, token=token)), SystemClock())
            file = await client.upload(path)
            task = await client.create_encryption(EncryptionRequest(config=GATEWAY, file=file))
            await client.close()
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert up.broken == CUTS
        assert up.passed < SIZE + CUTS * 4 * MIB
        ended = await yard.engine.client(ADMIN).wait(task.id, within=60)
        assert ended.status is TaskStatus.DONE
        assert ended.result is not None
        async with down.listening() as url:
            client = HttpClient(Connection(Endpoint(url=url, token=token)), SystemClock())
            digest = hashlib.sha256()
            async for chunk in client.download(task.id):
                digest.update(chunk)
            await client.close()
        assert digest.hexdigest() == ended.result.sha256
        assert down.broken == CUTS
        assert down.passed < SIZE + CUTS * 4 * MIB
