"""What in a watch folder makes a package.

- A regular file directly in the folder is one firmware: one package.
- A sub-folder is one package: its files, by name, are the firmware, and those in its folder ``metadata`` the
  metadata. Any other folder, a link or a device in it is a mistake that a person is told of.
- What may not be looked into is such a mistake too, and keeps nothing else from becoming a package.
- Hidden files, links, devices and files with the name of something temporary (:data:`TEMPORARY`) are left alone;
  an empty file and, inside a sub-folder, a temporary one are still being written.

Whether a file is open for writing by somebody is not looked at (no system tells it cheaply): what lies unchanged for
the settling time is whole.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sealyard.concurrency.threads import CheckCancelled
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import InvalidInputError
from sealyard.model.safe_text import escape_text

METADATA = "metadata"
TEMPORARY = ("~", ".part", ".partial", ".tmp", ".temp", ".crdownload", ".download", ".swp")
CHUNK = 4 << 20


class DroppedEntry(FrozenStruct, frozen=True, kw_only=True):
    """What was dropped under one name. ``firmware`` and ``metadata`` are absolute paths, in order.

    ``fingerprint`` changes with any name, size or time of change in it; ``mistake``: why it cannot be a package.
    """

    name: str
    path: str
    fingerprint: str
    ready: bool
    firmware: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    problem: str = ""


def scan(folder: Path) -> tuple[DroppedEntry, ...]:
    """All that lie in ``folder``, by name. Raises :class:`InvalidInputError` where it cannot be read."""
    try:
        entries = _entries(folder)
    except OSError as error:
        raise InvalidInputError(
            f"The watch folder {escape_text(str(folder))} cannot be read ({escape_text(error.strerror or '')}).",
            "See that it is there and may be read.",
        ) from error
    return tuple(drop for entry in entries if (drop := _drop(entry)) is not None)


def has_unreadable_dirs(folder: Path, go_on: CheckCancelled) -> bool:
    """Whether there is a folder in it, however deep, or itself, that cannot be read."""
    closed: list[OSError] = []
    for _ in os.walk(folder, onerror=closed.append):
        go_on(0)
    return any(not isinstance(each, FileNotFoundError) for each in closed)


def content_digest(drop_name: str, firmware: tuple[tuple[str, str], ...], metadata: tuple[tuple[str, str], ...]) -> str:
    """SHA-256 (hex) over names and digests of a package's files."""
    return hashlib.sha256(msgspec.json.encode((drop_name, firmware, metadata))).hexdigest()


def entry_digest(drop: DroppedEntry, go_on: CheckCancelled) -> str:
    """The :func:`content_digest` of what lies there now. Raises ``OSError``."""

    def named(paths: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        return tuple((Path(path).name, sha256_file(path, go_on)) for path in paths)

    return content_digest(drop.name, named(drop.firmware), named(drop.metadata))


def _drop(entry: os.DirEntry[str]) -> DroppedEntry | None:
    """None for what is left alone, or vanishes at this moment."""
    if _temporary(entry.name):
        return None
    try:
        if entry.is_symlink():
            return None
        if entry.is_dir():
            return _folder_drop(entry)
        if entry.is_file():
            return _file_drop(entry)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _closed_drop(entry, error)
    return None


def _closed_drop(entry: os.DirEntry[str], error: OSError) -> DroppedEntry:
    """Not even its size and time may be known: the same reason is told once."""
    reason = escape_text(error.strerror or str(error))
    return DroppedEntry(
        name=_shown(entry.name),
        path=_shown(entry.path),
        fingerprint=hashlib.sha256(msgspec.json.encode((_shown(entry.path), reason))).hexdigest(),
        ready=False,
        problem=f"It cannot be read ({reason}).",
    )


def _file_drop(entry: os.DirEntry[str]) -> DroppedEntry:
    size = entry.stat().st_size
    return DroppedEntry(
        name=_shown(entry.name),
        path=_shown(entry.path),
        fingerprint=_fingerprint([entry]),
        ready=size > 0,
        firmware=(entry.path,),
        problem=_has_invalid_name([entry]),
    )


def _folder_drop(entry: os.DirEntry[str]) -> DroppedEntry:
    inside = _entries(Path(entry.path))
    metadata = [each for each in inside if each.name == METADATA and each.is_dir(follow_symlinks=False)]
    firmware = [each for each in inside if each not in metadata]
    described = [each for folder in metadata for each in _entries(Path(folder.path))]
    every = [*firmware, *described]
    mistake = _has_invalid_name([entry, *every]) or next(
        (words for each in every if (words := _not_a_file_error(each))), ""
    )
    whole = all(not _temporary(each.name) and each.stat(follow_symlinks=False).st_size > 0 for each in every)
    return DroppedEntry(
        name=_shown(entry.name),
        path=_shown(entry.path),
        fingerprint=_fingerprint(every),
        ready=bool(firmware) and whole,
        firmware=tuple(each.path for each in firmware),
        metadata=tuple(each.path for each in described),
        problem=mistake,
    )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as found:
        return sorted((each for each in found if not each.name.startswith(".")), key=lambda each: each.name)


def _temporary(name: str) -> bool:
    return name.lower().endswith(TEMPORARY)


def _not_a_file_error(entry: os.DirEntry[str]) -> str:
    if entry.is_file(follow_symlinks=False):
        return ""
    kind = "a link" if entry.is_symlink() else "a folder" if entry.is_dir() else "no regular file"
    return f"{_shown(entry.name)} in it is {kind}; a package is made of files, and of those in {METADATA}/."


def _has_invalid_name(entries: list[os.DirEntry[str]]) -> str:
    odd = next((each.name for each in entries if _shown(each.name) != each.name), None)
    return f"The name {escape_text(_shown(odd))} is not valid Unicode." if odd is not None else ""


def _shown(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def _fingerprint(entries: list[os.DirEntry[str]]) -> str:
    seen = [
        (_shown(each.path), found.st_mode, found.st_size, found.st_mtime_ns)
        for each in entries
        for found in (each.stat(follow_symlinks=False),)
    ]
    return hashlib.sha256(msgspec.json.encode(seen)).hexdigest()


def sha256_file(path: str, go_on: CheckCancelled) -> str:
    """In hex. Raises ``OSError``."""
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
        go_on(len(chunk))
    return digest.hexdigest()


def _chunks(path: str) -> Iterator[bytes]:
    with Path(path).open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            yield chunk
