"""Changed versions of files and messages."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

TOKENS = (
    b"\x00", b"\xff", b"\xed\xa0\x80", b"\n", b"\r\n", b"\n\n", b'"', b"\\", b"\\ud800", b"{", b"}", b"[", b"null",
    b"true", b"-1", b"0", b"1e999", b"9" * 400, b"18446744073709551616", b"2026-02-30T25:61:61Z", b"../etc", b"%s%n",
)  # fmt: skip
"""Fragments with which parsers have had trouble."""

NESTED = (b"[" * 60_000, b'{"a":' * 60_000)
MAX_BLOCK = 64


def iter_byte_changes(content: bytes, values: int, random: Random) -> Iterator[tuple[int, bytes]]:
    """Yield each position with the content after its byte was replaced, once for each of ``values`` other bytes."""
    for position, byte in enumerate(content):
        others = [value for value in range(256) if value != byte]
        for value in random.sample(others, values):
            yield position, replace_byte(content, position, value)


def replace_byte(content: bytes, position: int, value: int) -> bytes:
    return content[:position] + bytes([value]) + content[position + 1 :]


def mutate(content: bytes, random: Random) -> bytes:
    """Return the content after one to four random changes."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        content = _change(content, random)
    return content


def _change(content: bytes, random: Random) -> bytes:
    begin = random.randint(0, len(content))
    end = min(len(content), begin + random.randint(0, MAX_BLOCK))
    block = content[begin:end]
    match random.randrange(8):
        case 0:
            return content[:begin]
        case 1:
            return content[:begin] + content[end:]
        case 2:
            return content[:end] + block * random.randint(1, 3) + content[end:]
        case 3:
            return content[:begin] + random.choice(TOKENS) + content[begin:]
        case 4:
            return content[:begin] + random.choice(TOKENS) + content[end:]
        case 5:
            return content[:begin] + random.randbytes(end - begin) + content[end:]
        case 6 if random.random() < 0.05:
            return content[:begin] + random.choice(NESTED) + content[begin:]
        case _:
            return replace_byte(content, begin, random.randrange(256)) if begin < len(content) else content
