"""Tests of the keys that the key holder gives to the engine, and of the generation of the store that it records."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sealyard.jobs.key_holder import KeyHolder
from sealyard.keys.derived_keys import derive_engine_keys
from sealyard.keys.master_key import open_key_store
from sealyard.model.errors import WorkerStateError
from sealyard.model.key_holder_messages import KeyHolderReady, StoreGeneration
from tests.support.key_holders import unlock
from tests.support.worker_harness import PASSPHRASE, WorkerWorkspace
from tests.support.worker_state import read_records

FIRST, SECOND, THIRD = (StoreGeneration(number=number, mac=f"{number:064x}") for number in (1, 2, 3))

OPENSSL_KEYS = (
    "a395ca8baaf71a41f92270adda1d2f17cc9bf5421194ff6931b38e9a31221f07",
    "1829725001c0403281c07d8db5923fef1e0795ba3cdd5fcd339dd512c7e66360",
    "49a82f51e1e2ace83b1aded4421ec0875ce840ecdf48a11275d47db2c9a38789",
)


@pytest.fixture
def key_holder(workspace: WorkerWorkspace) -> Iterator[KeyHolder]:
    with closing(unlock(PASSPHRASE)(workspace.location)) as key_holder:
        yield key_holder


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


def recorded_generations(workspace: WorkerWorkspace) -> list[int]:
    records = read_records(Path(workspace.location.workspace))
    return [record["generation"] for record in records if record["type"] == "store"]


def test_keys_are_derived_with_rfc_5869() -> None:
    """The values were computed with `openssl kdf -keylen 32 -kdfopt digest:SHA256 … HKDF`."""
    keys = derive_engine_keys(bytes(range(32)))
    assert (keys.store_key.hex(), keys.link_key.hex(), keys.secrets_key.hex()) == OPENSSL_KEYS


def test_representation_of_keys_shows_none() -> None:
    keys = derive_engine_keys(bytes(32))
    for text in (repr(keys), repr(KeyHolderReady(keys=keys))):
        for key in (keys.store_key, keys.link_key, keys.secrets_key):
            assert key.hex() not in text
            assert repr(key)[2:-1] not in text
            assert msgspec.json.encode(key).decode() not in text


def test_engine_gets_derived_keys_and_not_the_master_key(workspace: WorkerWorkspace, key_holder: KeyHolder) -> None:
    location = workspace.location
    master_key = open_key_store(
        location.key_store, Path(location.workspace) / "keys", location.workspace_id, PASSPHRASE
    ).master_key

    async def scenario() -> None:
        keys = await key_holder.get_engine_keys()
        assert keys == derive_engine_keys(master_key)
        assert len({master_key, keys.store_key, keys.link_key, keys.secrets_key}) == 4

    run(scenario())


def test_generation_is_recorded_once(workspace: WorkerWorkspace, key_holder: KeyHolder) -> None:
    async def scenario() -> None:
        assert await key_holder.update_store_generation(None) is None
        for generation in (FIRST, FIRST, SECOND):
            assert await key_holder.update_store_generation(generation) == generation
        assert await key_holder.update_store_generation(None) == SECOND

    run(scenario())
    assert recorded_generations(workspace) == [1, 2]


@pytest.mark.parametrize(
    "generation",
    [FIRST, StoreGeneration(number=2, mac="ff" * 32), StoreGeneration(number=4, mac="ff" * 32)],
    ids=["older", "other", "later"],
)
def test_generation_that_does_not_follow_is_refused(
    workspace: WorkerWorkspace, key_holder: KeyHolder, generation: StoreGeneration
) -> None:
    async def scenario() -> None:
        for each in (FIRST, SECOND):
            await key_holder.update_store_generation(each)
        with pytest.raises(WorkerStateError, match="does not follow the recorded one, 2"):
            await key_holder.update_store_generation(generation)
        assert await key_holder.update_store_generation(THIRD) == THIRD

    run(scenario())
    assert recorded_generations(workspace) == [1, 2, 3]


def test_generation_survives_kill_of_key_holder(workspace: WorkerWorkspace, key_holder: KeyHolder) -> None:
    async def scenario() -> None:
        await key_holder.update_store_generation(FIRST)
        os.kill(key_holder.pid, signal.SIGKILL)
        with closing(unlock(PASSPHRASE)(workspace.location)) as next_key_holder:
            assert await next_key_holder.update_store_generation(None) == FIRST
            assert await next_key_holder.update_store_generation(SECOND) == SECOND

    run(scenario())


def test_released_state_can_be_used_by_another_key_holder(workspace: WorkerWorkspace, key_holder: KeyHolder) -> None:
    with closing(unlock(PASSPHRASE)(workspace.location)) as other:

        async def scenario() -> None:
            await key_holder.update_store_generation(FIRST)
            with pytest.raises(WorkerStateError, match="Another key holder"):
                await other.update_store_generation(None)
            key_holder.release_worker_state()
            assert await other.update_store_generation(None) == FIRST

        run(scenario())


def test_damaged_state_is_reported(workspace: WorkerWorkspace, key_holder: KeyHolder) -> None:
    path = Path(workspace.location.workspace) / "worker" / "state.log"

    async def scenario() -> None:
        await key_holder.update_store_generation(FIRST)
        key_holder.release_worker_state()
        content = path.read_bytes()
        path.write_bytes(content.replace(b'"generation":1', b'"generation":2'))
        with pytest.raises(WorkerStateError, match="damaged or was changed"):
            await key_holder.update_store_generation(None)
        path.write_bytes(content)
        assert await key_holder.update_store_generation(None) == FIRST

    run(scenario())
