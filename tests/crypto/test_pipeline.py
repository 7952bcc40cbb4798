"""Tests of the pipeline: order, exceptions and the end of its threads."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest

from sealyard.crypto.pipeline import ExactReader, pump, write_to_stream
from sealyard.model.errors import InvalidInputError, StorageError
from tests.support.limits import TIMEOUT

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class StoppedError(Exception):
    pass


def list_pump_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pump")]


def make_fill(pieces: Iterable[bytes]) -> Callable[[memoryview], int]:
    remaining = iter(pieces)

    def fill(buffer: memoryview) -> int:
        piece = next(remaining, b"")
        buffer[: len(piece)] = piece
        return len(piece)

    return fill


def test_drains_receive_all_pieces_in_order() -> None:
    pieces = [bytes([number]) * (number % 7 + 1) for number in range(1, 200)]
    received = [bytearray(), bytearray(), bytearray()]
    pump(make_fill(pieces), [each.extend for each in received], 8)
    assert [bytes(each) for each in received] == [b"".join(pieces)] * 3
    assert list_pump_threads() == []


def test_drains_run_while_next_piece_fills() -> None:
    filled_again = threading.Event()
    results: list[bool] = []
    fill = make_fill([b"1", b"2"])

    def fill_and_announce(buffer: memoryview) -> int:
        if filled_once.is_set():
            filled_again.set()
        filled_once.set()
        return fill(buffer)

    filled_once = threading.Event()
    pump(fill_and_announce, [lambda _: results.append(filled_again.wait(TIMEOUT))], 1)
    assert results == [True, True]


@pytest.mark.parametrize("failing", [0, 1, 2, 3, 9])
def test_drain_exception_ends_the_threads(failing: int) -> None:
    received: list[bytes] = []

    def drain(piece: memoryview) -> None:
        received.append(bytes(piece))
        if len(received) == failing + 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        pump(make_fill([bytes([number]) for number in range(10)]), [drain], 1)
    assert list_pump_threads() == []


@pytest.mark.parametrize("failing", [0, 1, 9])
def test_fill_exception_ends_the_threads(failing: int) -> None:
    def stop(_: int) -> None:
        pieces.append(1)
        if len(pieces) > failing:
            raise StoppedError

    pieces: list[int] = []
    reader = ExactReader(io.BytesIO(bytes(10)), 10, stop)
    with pytest.raises(StoppedError):
        pump(reader.read_into, [lambda _: None], 1)
    assert list_pump_threads() == []


class OneByteReader(io.RawIOBase):
    """Returns one byte per read, as a pipe can."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        piece, self.data = self.data[:1], self.data[1:]
        memoryview(buffer)[: len(piece)] = piece
        return len(piece)


def test_short_reads_are_repeated() -> None:
    steps: list[int] = []
    buffer = memoryview(bytearray(8))
    reader = ExactReader(cast("BinaryIO", OneByteReader(b"0123456789ab")), 10, steps.append)
    assert [reader.read_into(buffer), reader.read_into(buffer), reader.read_into(buffer)] == [8, 2, 0]
    assert bytes(buffer[:2]) == b"89"
    assert steps == [8, 2]


def test_source_ending_early_is_rejected() -> None:
    with pytest.raises(InvalidInputError, match="3 bytes early"):
        ExactReader(io.BytesIO(b"12345"), 8, lambda _: None).read_into(memoryview(bytearray(16)))


class TwoByteWriter(io.RawIOBase):
    """Accepts two bytes per write."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: ReadableBuffer) -> int:
        written = memoryview(data)[:2]
        self.written += written
        return len(written)


def test_short_writes_are_repeated() -> None:
    target = TwoByteWriter()
    write_to_stream(cast("BinaryIO", target), memoryview(b"12345"))
    assert target.written == b"12345"


def test_full_disk_raises_storage_error() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(StorageError, match="No space left"):
        write_to_stream(full, memoryview(b"x"))
