"""Tests of messages over a SEQPACKET socket: sizes, several messages, a reader that takes over, invalid packets."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.jobs.packets import MAX_MESSAGE_BYTES, PACKET_BYTES, PacketReader, PacketWriter

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, two:
        yield one, two


def packet(number: int, length: int, offset: int, content: bytes) -> bytes:
    return struct.pack(">QII", number, length, offset) + content


def send_all(writer: PacketWriter, messages: list[bytes]) -> None:
    for message in messages:
        writer.send(message)


def test_messages_of_all_sizes_arrive_in_order(pair: Pair) -> None:
    messages = [b"a", b"b" * PACKET_BYTES, b"c" * (PACKET_BYTES + 1), bytes(range(256)) * (MAX_MESSAGE_BYTES // 256)]
    writer, reader = PacketWriter(pair[0].fileno()), PacketReader(pair[1].fileno())
    sender = threading.Thread(target=send_all, args=(writer, messages))
    sender.start()
    assert [reader.read() for _ in messages] == messages
    sender.join()
    pair[0].close()
    assert reader.read() is None


def test_new_reader_skips_rest_of_message(pair: Pair) -> None:
    writer = PacketWriter(pair[0].fileno())
    writer.send(b"a" * (2 * PACKET_BYTES))
    writer.send(b"next")
    os.read(pair[1].fileno(), 2 * PACKET_BYTES)
    assert PacketReader(pair[1].fileno()).read() == b"next"


def test_new_writer_replaces_incomplete_message(pair: Pair) -> None:
    os.write(pair[0].fileno(), packet(1, 4, 0, b"ab"))
    PacketWriter(pair[0].fileno()).send(b"next")
    assert PacketReader(pair[1].fileno()).read() == b"next"


@pytest.mark.parametrize(
    "data",
    [
        b"a",
        packet(1, 1, 0, b""),
        packet(0, 1, 0, b"a"),
        packet(1, 1, 0, b"ab"),
        packet(1, MAX_MESSAGE_BYTES + 1, 0, b"a"),
    ],
)
def test_invalid_packet_is_rejected(pair: Pair, data: bytes) -> None:
    os.write(pair[0].fileno(), data)
    with pytest.raises(ValueError, match="a packet has"):
        PacketReader(pair[1].fileno()).read()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=64), min_size=1, max_size=8))
def test_random_packets_are_read_or_rejected(packets: list[bytes]) -> None:
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with two:
        with one:
            for each in packets:
                one.send(each)
        reader = PacketReader(two.fileno())
        try:
            while (message := reader.read()) is not None:
                assert message
        except ValueError:
            return
