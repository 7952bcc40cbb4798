"""Test that every single-byte change of the worker state is noticed: all of a small one, a sample of a large one."""

from __future__ import annotations

from random import Random

import pytest

from sealyard.keyholder.state_records import (
    CheckpointRecord,
    DamagedRecordError,
    EpochRecord,
    IntentRecord,
    RecordChain,
    StateRecord,
    parse_records,
)
from tests.support.extent import choose_count
from tests.support.factories.key_stores import MASTER_KEY, WORKSPACE_ID
from tests.support.mutations import iter_byte_changes, replace_byte

RANDOM = Random(20261129)
SAMPLES = choose_count(share=300, full=10_000)
DIGEST = "11" * 32


def write_records(intents: int) -> bytes:
    chain = RecordChain(MASTER_KEY)
    records: list[StateRecord] = [EpochRecord(epoch="ab" * 16, workspace=WORKSPACE_ID)]
    for number in range(intents):
        records.append(IntentRecord(task=f"t{number}", fencing_token=1, sha256=DIGEST, at=1.5))
        records.append(CheckpointRecord(size=number + 1, root=DIGEST, at=2.5))
    return b"".join(chain.append(record) for record in records)


@pytest.fixture(scope="module")
def small_state() -> bytes:
    return write_records(2)


@pytest.fixture(scope="module")
def large_state() -> bytes:
    return write_records(1000)


def require_refused(content: bytes) -> None:
    with pytest.raises(DamagedRecordError):
        parse_records(content, RecordChain(MASTER_KEY))


@pytest.mark.timeout(900)
def test_each_byte_of_small_state(small_state: bytes) -> None:
    """All 255 other values of each byte."""
    for _, changed in iter_byte_changes(small_state, 255, RANDOM):
        require_refused(changed)


def test_sampled_bytes_of_large_state(large_state: bytes) -> None:
    for _ in range(SAMPLES):
        position = RANDOM.randrange(len(large_state))
        require_refused(replace_byte(large_state, position, large_state[position] ^ RANDOM.randrange(1, 256)))


def test_each_removed_or_inserted_byte(small_state: bytes) -> None:
    """A removed or inserted byte of the last record looks like an incomplete write, which is not read as a record."""
    last_record = small_state.rindex(b"\n", 0, -1) + 1
    for position in range(last_record):
        require_refused(small_state[:position] + small_state[position + 1 :])
        require_refused(small_state[:position] + b"0" + small_state[position:])
