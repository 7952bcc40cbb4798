"""Test that a task is rejected before its approval if its key cannot sign so much."""

from __future__ import annotations

import msgspec
import pytest

from sealyard.engine.state.tables import KEYS, TASKS
from sealyard.model.algorithms import HashName, SigningAlgorithm
from sealyard.model.errors import InvalidKeyError
from sealyard.model.keys import KeyCapabilities
from tests.support.engine_harness import EngineHarness

pytestmark = pytest.mark.anyio

LIMIT = 4096
HEADER_OF_ONE_FILE = 52  # 16 bytes of fixed fields, then 4 + 32 bytes for each firmware file


async def create_limited_device(harness: EngineHarness, algorithm: SigningAlgorithm, *digests: HashName) -> None:
    """Create the configuration "door", whose signing key has the limits of AWS KMS."""
    uri = (await harness.create_device("door", signing=algorithm)).signing.uri
    repository = harness.engine.repository
    key = repository.get(KEYS, uri)
    assert key is not None
    capabilities = KeyCapabilities(algorithms=(algorithm,), digests=digests, max_message_bytes=LIMIT)
    unit_of_work = repository.begin()
    unit_of_work.put(KEYS, uri, msgspec.structs.replace(key, capabilities=capabilities))
    await unit_of_work.commit()


@pytest.mark.parametrize("algorithm", [SigningAlgorithm.ED25519, SigningAlgorithm.ML_DSA_65])
async def test_message_beyond_the_limit_names_an_alternative(
    harness: EngineHarness, algorithm: SigningAlgorithm
) -> None:
    await create_limited_device(harness, algorithm)
    await harness.signing(config="door", message=bytes(LIMIT))
    count = harness.engine.store.count(TASKS.name)
    with pytest.raises(InvalidKeyError, match=f"at most 4,096 bytes with {algorithm}; the message has 4,097") as caught:
        await harness.signing(config="door", message=bytes(LIMIT + 1))
    assert "EC_P256" in caught.value.hint
    assert harness.engine.store.count(TASKS.name) == count


async def test_header_beyond_the_limit_is_rejected(harness: EngineHarness) -> None:
    await create_limited_device(harness, SigningAlgorithm.ED25519)
    for size, is_accepted in ((LIMIT - HEADER_OF_ONE_FILE, True), (LIMIT - HEADER_OF_ONE_FILE + 1, False)):
        metadata = (await harness.upload(bytes(size), f"metadata-{size}.bin"),)
        if is_accepted:
            await harness.package(config="door", metadata=metadata)
            continue
        with pytest.raises(InvalidKeyError, match="the header has 4,097"):
            await harness.package(config="door", metadata=metadata)


async def test_limit_does_not_apply_to_digests(harness: EngineHarness) -> None:
    await create_limited_device(harness, SigningAlgorithm.SHA256_ECDSA, HashName.SHA256)
    await harness.signing(config="door", message=bytes(LIMIT + 1))
    metadata = (await harness.upload(bytes(LIMIT), "metadata.bin"),)
    await harness.package(config="door", metadata=metadata)
