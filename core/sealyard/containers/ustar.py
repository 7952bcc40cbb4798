"""Several metadata files as one: a ustar (POSIX.1-1988) whose every byte follows from names and contents.

Members are ``names.json`` (a JSON array of the original names, UTF-8), then ``000``, ``001``, … in the given
order; mode 0644, ids and times 0, two zero blocks at the end. Names cannot reach outside a folder that way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from sealyard.model.errors import ContainerError, InvalidInputError

BLOCK = 512
_NAMES = "names.json"
_END = bytes(2 * BLOCK)
_SIZE_FIELD = slice(124, 136)


def packed_size(files: Sequence[tuple[str, int]]) -> int:
    """The length in bytes of :func:`pack` over files of these names and sizes."""
    sizes = [len(_encoded_names([name for name, _ in files])), *(size for _, size in files)]
    return sum(BLOCK + _rounded(size) for size in sizes) + len(_END)


def pack(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Raises :class:`InvalidInputError` for a name that is no Unicode text."""
    names = _encoded_names([name for name, _ in files])
    members = [(_NAMES, names), *((f"{index:03}", content) for index, (_, content) in enumerate(files))]
    return b"".join(_member(name, content) for name, content in members) + _END


def unpack(data: bytes) -> tuple[tuple[str, bytes], ...]:
    """Names and contents. Raises :class:`ContainerError` unless ``data`` is, byte by byte, what :func:`pack` writes."""
    try:
        contents = list(_contents(data))
        names = msgspec.json.decode(contents[0], type=list[str])
        files = tuple(zip(names, contents[1:], strict=True))
        same = pack(files) == data
    except (ValueError, IndexError, InvalidInputError):
        same = False
    if not same:
        raise ContainerError(
            "The metadata is no bundle of several files.",
            "It may be a single file: open the container without splitting it.",
            part="metadata",
        )
    return files


def is_archive(data: bytes) -> bool:
    """Whether :func:`unpack` takes ``data``."""
    try:
        unpack(data)
    except ContainerError:
        return False
    return True


def _contents(data: bytes) -> Iterator[bytes]:
    """Contents in order, read with no check but of the bounds: comparing the whole checks the rest."""
    offset = 0
    while data[offset : offset + len(_END)] != _END:
        size = int(data[offset:][_SIZE_FIELD].rstrip(b"\0"), 8)
        start = offset + BLOCK
        offset = start + _rounded(size)
        if size < 0 or offset > len(data):
            raise ValueError("a member reaches beyond the end")
        yield data[start : start + size]


def _member(name: str, content: bytes) -> bytes:
    header = b"".join(
        (
            name.encode().ljust(100, b"\0"),
            _octal(0o644, 8),
            _octal(0, 8),  # user id
            _octal(0, 8),  # group id
            _octal(len(content), 12),
            _octal(0, 12),  # time of change
            b" " * 8,  # the checksum counts itself as spaces
            b"0",  # a regular file
            bytes(100),
            b"ustar\x0000",
            bytes(64),  # names of user and group
            _octal(0, 8),
            _octal(0, 8),
            bytes(167),
        )
    )
    checksum = f"{sum(header):06o}\0 ".encode()
    return header[:148] + checksum + header[156:] + content.ljust(_rounded(len(content)), b"\0")


def _octal(number: int, width: int) -> bytes:
    return f"{number:0{width - 1}o}\0".encode()


def _rounded(size: int) -> int:
    return size + -size % BLOCK


def _encoded_names(names: Sequence[str]) -> bytes:
    try:
        return msgspec.json.encode(names)
    except UnicodeEncodeError as error:
        raise InvalidInputError("A metadata file's name is no Unicode text.", "Rename it and try again.") from error
