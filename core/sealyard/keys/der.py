"""Read and write elements in DER (X.690), to the extent that key files need it."""

from __future__ import annotations

from typing import NamedTuple

INTEGER = 0x02
OCTET_STRING = 0x04
OBJECT_IDENTIFIER = 0x06
SEQUENCE = 0x30
EXPLICIT_0 = 0xA0

_LONG_FORM = 0x80
_MAX_LENGTH_BYTES = 4


class Element(NamedTuple):
    """One DER element. ``tag`` is the whole identifier octet."""

    tag: int
    content: bytes


def read_elements(data: bytes) -> list[Element]:
    """Parse ``data`` as a series of DER elements. Raises :class:`ValueError` if it is anything else."""
    elements = []
    position = 0
    while position < len(data):
        tag = data[position]
        length, start = _read_length(data, position + 1)
        if start + length > len(data):
            raise ValueError("truncated element")
        elements.append(Element(tag, data[start : start + length]))
        position = start + length
    return elements


def read_element(data: bytes, tag: int) -> bytes:
    """Return the content of ``data``, a single element. Raises :class:`ValueError` if its tag is not ``tag``."""
    elements = read_elements(data)
    if len(elements) != 1 or elements[0].tag != tag:
        raise ValueError("unexpected element")
    return elements[0].content


def encode_element(tag: int, content: bytes) -> bytes:
    if len(content) < _LONG_FORM:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, _LONG_FORM | len(length)]) + length + content


def encode_elements(elements: list[Element]) -> bytes:
    return b"".join(encode_element(element.tag, element.content) for element in elements)


def _read_length(data: bytes, position: int) -> tuple[int, int]:
    """Return the length of an element and the position of its content."""
    if position >= len(data):
        raise ValueError("truncated element")
    first_byte = data[position]
    if first_byte < _LONG_FORM:
        return first_byte, position + 1
    byte_count = first_byte - _LONG_FORM
    end = position + 1 + byte_count
    # Zero bytes would be the indefinite length of BER.
    if not 1 <= byte_count <= _MAX_LENGTH_BYTES or end > len(data):
        raise ValueError("invalid length")
    return int.from_bytes(data[position + 1 : end], "big"), end
