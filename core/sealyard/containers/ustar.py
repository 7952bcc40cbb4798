"""Deterministic ustar archives (POSIX.1-1988) that store several metadata files in one.

Every byte of an archive is determined by the names and contents of its files. Its members are ``names.json`` (a JSON
array of the original names, UTF-8), then ``000``, ``001``, … in the given order, with mode 0644, and with ids and times
of 0; two zero blocks follow. Because the original names are not member names, no tar program can be made to write
outside its target directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from sealyard.model.errors import ContainerError, InvalidInputError

BLOCK = 512
_NAMES_MEMBER = "names.json"
_END_OF_ARCHIVE = bytes(2 * BLOCK)
_SIZE_FIELD = slice(124, 136)


def packed_size(files: Sequence[tuple[str, int]]) -> int:
    """Return the length in bytes of the archive that :func:`pack` creates for ``files``, given as names and sizes."""
    sizes = [len(_encode_names([name for name, _ in files])), *(size for _, size in files)]
    return sum(BLOCK + _round_up_to_block(size) for size in sizes) + len(_END_OF_ARCHIVE)


def pack(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Return an archive of ``files`` (name and content).

    Raises :class:`InvalidInputError` if a name is not valid Unicode text.
    """
    names = _encode_names([name for name, _ in files])
    members = [(_NAMES_MEMBER, names), *((f"{index:03}", content) for index, (_, content) in enumerate(files))]
    return b"".join(_encode_member(name, content) for name, content in members) + _END_OF_ARCHIVE


def unpack(data: bytes) -> tuple[tuple[str, bytes], ...]:
    """Return the names and contents of the files in ``data``.

    Raises :class:`ContainerError` unless ``data`` is byte for byte what :func:`pack` creates for these files.
    """
    try:
        contents = list(_read_contents(data))
        names = msgspec.json.decode(contents[0], type=list[str])
        files = tuple(zip(names, contents[1:], strict=True))
        is_canonical = pack(files) == data
    except (ValueError, IndexError, InvalidInputError):
        is_canonical = False
    if not is_canonical:
        raise ContainerError(
            "The metadata is not a bundle of several files.",
            "Open the container without splitting the metadata; it can be a single file.",
            part="metadata",
        )
    return files


def is_archive(data: bytes) -> bool:
    """Return whether :func:`unpack` accepts ``data``."""
    try:
        unpack(data)
    except ContainerError:
        return False
    return True


def _read_contents(data: bytes) -> Iterator[bytes]:
    """Yield the contents of the members of the archive ``data``, in order.

    Checks only the bounds; :func:`unpack` checks the rest when it compares ``data`` with the repacked archive.
    """
    offset = 0
    while data[offset : offset + len(_END_OF_ARCHIVE)] != _END_OF_ARCHIVE:
        size = int(data[offset:][_SIZE_FIELD].rstrip(b"\0"), 8)
        start = offset + BLOCK
        offset = start + _round_up_to_block(size)
        if size < 0 or offset > len(data):
            raise ValueError("a member extends beyond the end")
        yield data[start : start + size]


def _encode_member(name: str, content: bytes) -> bytes:
    header = b"".join(
        (
            name.encode().ljust(100, b"\0"),
            _encode_octal(0o644, 8),
            _encode_octal(0, 8),  # user id
            _encode_octal(0, 8),  # group id
            _encode_octal(len(content), 12),
            _encode_octal(0, 12),  # modification time
            b" " * 8,  # the checksum is calculated with its own field set to spaces
            b"0",  # type flag of a regular file
            bytes(100),
            b"ustar\x0000",
            bytes(64),  # user name and group name
            _encode_octal(0, 8),
            _encode_octal(0, 8),
            bytes(167),
        )
    )
    checksum = f"{sum(header):06o}\0 ".encode()
    return header[:148] + checksum + header[156:] + content.ljust(_round_up_to_block(len(content)), b"\0")


def _encode_octal(number: int, width: int) -> bytes:
    return f"{number:0{width - 1}o}\0".encode()


def _round_up_to_block(size: int) -> int:
    return size + -size % BLOCK


def _encode_names(names: Sequence[str]) -> bytes:
    try:
        return msgspec.json.encode(names)
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            "The name of a metadata file is not valid Unicode.", "Rename the file and try again."
        ) from error
