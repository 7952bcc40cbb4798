"""The pipeline keeps order, ends on every exception, and leaves no thread behind."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import pytest

from sealyard.crypto.pipeline import ExactReader, pump, write_to_stream
from sealyard.model.errors import InvalidInputError, StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


class StoppedError(Exception):
    pass


def pump_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pump")]


def filler(pieces: Iterable[bytes]) -> Callable[[memoryview], int]:
    left = iter(pieces)

    def fill(buffer: memoryview) -> int:
        piece = next(left, b"")
        buffer[: len(piece)] = piece
        return len(piece)

    return fill


def test_every_drain_sees_all_pieces_in_order() -> None:
    pieces = [bytes([number]) * (number % 7 + 1) for number in range(1, 200)]
    seen = [bytearray(), bytearray(), bytearray()]
    pump(filler(pieces), [each.extend for each in seen], 8)
    assert [bytes(each) for each in seen] == [b"".join(pieces)] * 3
    assert pump_threads() == []


def test_drains_work_while_the_next_piece_is_filled() -> None:
    filled_again = threading.Event()
    waited: list[bool] = []
    fill = filler([b"1", b"2"])

    def announcing(buffer: memoryview) -> int:
        if waited_for_second.is_set():
            filled_again.set()
        waited_for_second.set()
        return fill(buffer)

    waited_for_second = threading.Event()
    pump(announcing, [lambda _: waited.append(filled_again.wait(10))], 1)
    assert waited == [True, True]


@pytest.mark.parametrize("failing", [0, 1, 2, 3, 9])
def test_an_exception_of_a_drain_is_raised_and_ends_the_threads(failing: int) -> None:
    seen: list[bytes] = []

    def drain(piece: memoryview) -> None:
        seen.append(bytes(piece))
        if len(seen) == failing + 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        pump(filler([bytes([number]) for number in range(10)]), [drain], 1)
    assert pump_threads() == []


@pytest.mark.parametrize("failing", [0, 1, 9])
def test_an_exception_of_the_filling_is_raised_and_ends_the_threads(failing: int) -> None:
    def stop(_: int) -> None:
        pieces.append(1)
        if len(pieces) > failing:
            raise StoppedError

    pieces: list[int] = []
    reader = ExactReader(io.BytesIO(bytes(10)), 10, stop)
    with pytest.raises(StoppedError):
        pump(reader.read_into, [lambda _: None], 1)
    assert pump_threads() == []


class Dripping(io.RawIOBase):
    """Gives one byte at a time, as a pipe may."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        piece, self.data = self.data[:1], self.data[1:]
        memoryview(buffer)[: len(piece)] = piece
        return len(piece)


def test_short_reads_are_filled_up() -> None:
    told: list[int] = []
    buffer = memoryview(bytearray(8))
    reader = ExactReader(cast("BinaryIO", Dripping(b"0123456789ab")), 10, told.append)
    assert [reader.read_into(buffer), reader.read_into(buffer), reader.read_into(buffer)] == [8, 2, 0]
    assert bytes(buffer[:2]) == b"89"
    assert told == [8, 2]


def test_a_source_that_ends_early_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="3 bytes early"):
        ExactReader(io.BytesIO(b"12345"), 8, lambda _: None).read_into(memoryview(bytearray(16)))


class Slow(io.RawIOBase):
    """Takes two bytes at a time."""

    def __init__(self) -> None:
        self.taken = bytearray()

    def write(self, data: ReadableBuffer) -> int:
        taken = memoryview(data)[:2]
        self.taken += taken
        return len(taken)


def test_short_writes_are_carried_on() -> None:
    target = Slow()
    write_to_stream(cast("BinaryIO", target), memoryview(b"12345"))
    assert target.taken == b"12345"


def test_a_full_disk_is_said_plainly() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(StorageError, match="No space left"):
        write_to_stream(full, memoryview(b"x"))
