"""Messages over a Unix socket of the type SEQPACKET, which keeps the boundaries of packets.

A message is split into packets, each with the number and the total length of the message and its own offset. A process
that takes over a socket therefore ignores the rest of a message whose first packets another process has read.
"""

from __future__ import annotations

import os
import struct
import threading

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""Maximum size of a message: a key file or a message to sign in Base64, with some space for the other fields."""

PACKET_BYTES = 32 * 1024
_HEADER = struct.Struct(">QII")  # number of the message, its length, offset of the packet


class PacketWriter:
    """Sends messages from any thread. Blocks while the receiver does not read."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()
        self._number = 0

    def send(self, message: bytes) -> None:
        """Send ``message``, which must not be empty. Raises ``OSError`` if the other end is closed."""
        with self._lock:
            self._number += 1
            for offset in range(0, len(message), PACKET_BYTES):
                header = _HEADER.pack(self._number, len(message), offset)
                os.write(self._fd, header + message[offset : offset + PACKET_BYTES])


class PacketReader:
    """Receives messages. Only one thread may use it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._number = 0
        self._buffer = bytearray()

    def read(self) -> bytes | None:
        """Wait for a message. Returns None if the other end is closed.

        Raises ``ValueError`` if a packet is not valid, and ``OSError`` if the socket cannot be read.
        """
        while packet := self._read_packet():
            number, length, offset, content = _parse_packet(packet)
            if offset == 0:
                self._number, self._buffer = number, bytearray()
            if number != self._number or offset != len(self._buffer):
                continue
            self._buffer += content
            if len(self._buffer) == length:
                self._number, message = 0, bytes(self._buffer)
                return message
        return None

    def _read_packet(self) -> bytes:
        try:
            return os.read(self._fd, _HEADER.size + PACKET_BYTES)
        except ConnectionResetError:  # the other end was closed with packets that nothing has read
            return b""


def _parse_packet(packet: bytes) -> tuple[int, int, int, bytes]:
    if len(packet) <= _HEADER.size:
        raise ValueError("a packet has no content")
    number, length, offset = _HEADER.unpack_from(packet)
    content = packet[_HEADER.size :]
    if number == 0 or length > MAX_MESSAGE_BYTES or offset + len(content) > length:
        raise ValueError("a packet has an invalid header")
    return number, length, offset, content
