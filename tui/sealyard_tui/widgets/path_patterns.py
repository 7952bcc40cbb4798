"""Expansion of shell patterns (``*``, ``?``, ``[…]`` and ``**``) in typed paths, with a bounded amount of work.

All functions access the file system and must not be called on an event loop.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from sealyard.model.base import FrozenStruct

MAX_MATCHES = 1000
"""Maximum number of files that a pattern or a folder adds at once."""

MAX_SCANNED = 20_000
"""Maximum number of directory entries that the expansion of one pattern reads."""

MAX_DEPTH = 32
"""Maximum depth of the directories that ``**`` matches."""

ANY_DEPTH = "**"
_MAGIC = frozenset("*?[")


class PatternTooBroadError(Exception):
    """A pattern matches more than :data:`MAX_MATCHES` files, or reads more than :data:`MAX_SCANNED` entries."""


class FolderContents(FrozenStruct, frozen=True, kw_only=True):
    """The regular files in a folder, without hidden files and without the files of its subfolders.

    ``size``: the total size of ``files``. ``hidden`` and ``special``: the numbers of files that are left out because
    they are hidden or not regular. ``folders``: the number of subfolders.
    """

    folder: Path
    files: tuple[Path, ...] = ()
    size: int = 0
    hidden: int = 0
    special: int = 0
    folders: int = 0


def is_pattern(text: str) -> bool:
    return not _MAGIC.isdisjoint(text)


def expand_pattern(pattern: Path) -> tuple[Path, ...]:
    """Return the regular files that match an absolute pattern, sorted by folder and name.

    Hidden names match only a part that starts with a dot. ``**`` does not follow symbolic links. Directories that
    cannot be read are skipped. Raises :class:`PatternTooBroadError`.
    """
    _, *parts = pattern.parts
    matches = dict.fromkeys(_Expansion().find(Path(pattern.anchor), tuple(parts)))
    return tuple(matches)


def list_folder(folder: Path) -> FolderContents:
    """Return the regular files in ``folder``. Raises :class:`PatternTooBroadError` for too many files, or OSError."""
    files: list[Path] = []
    size = hidden = special = folders = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                hidden += 1
            elif entry.is_dir():
                folders += 1
            elif not entry.is_file():
                special += 1
            else:
                files.append(folder / entry.name)
                size += entry.stat().st_size
            if len(files) > MAX_MATCHES:
                raise PatternTooBroadError
    return FolderContents(
        folder=folder, files=tuple(sorted(files)), size=size, hidden=hidden, special=special, folders=folders
    )


class _Expansion:
    """The expansion of one pattern, which counts the directory entries and matches."""

    def __init__(self) -> None:
        self._scanned = 0
        self._matches = 0

    def find(self, folder: Path, parts: tuple[str, ...], depth: int = 0) -> Iterator[Path]:
        """Yield the files below ``folder`` that match the remaining parts of the pattern."""
        part, rest = parts[0], parts[1:]
        if part == ANY_DEPTH:
            yield from self._find_at_any_depth(folder, parts, depth)
        elif not is_pattern(part):
            path = folder / part
            if rest:
                yield from self.find(path, rest)
            elif path.is_file():
                yield self._count(path)
        else:
            for entry in self._scan(folder, include_hidden=part.startswith(".")):
                if not fnmatchcase(entry.name, part):
                    continue
                if rest and entry.is_dir():
                    yield from self.find(folder / entry.name, rest)
                elif not rest and entry.is_file():
                    yield self._count(folder / entry.name)

    def _find_at_any_depth(self, folder: Path, parts: tuple[str, ...], depth: int) -> Iterator[Path]:
        yield from self.find(folder, parts[1:] or ("*",))
        if depth == MAX_DEPTH:
            raise PatternTooBroadError
        for entry in self._scan(folder, include_hidden=False):
            if entry.is_dir(follow_symlinks=False):
                yield from self.find(folder / entry.name, parts, depth + 1)

    def _scan(self, folder: Path, *, include_hidden: bool) -> list[os.DirEntry[str]]:
        entries = []
        try:
            with os.scandir(folder) as scan:
                for entry in scan:
                    self._scanned += 1
                    if self._scanned > MAX_SCANNED:
                        raise PatternTooBroadError
                    if include_hidden or not entry.name.startswith("."):
                        entries.append(entry)
        except (OSError, ValueError):
            return []
        return sorted(entries, key=lambda entry: entry.name)

    def _count(self, path: Path) -> Path:
        self._matches += 1
        if self._matches > MAX_MATCHES:
            raise PatternTooBroadError
        return path
