"""Parsing and completion of paths that users type, paste or drop.

They may be shell-quoted, file URLs, relative, or start with ``~``.

All functions access the file system and must not be called on an event loop.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sealyard.model.base import FrozenStruct

MAX_CANDIDATES = 200
"""Maximum number of names that a completion returns."""


class ParsedPaths(FrozenStruct, frozen=True, kw_only=True):
    """The result of parsing typed paths.

    ``paths``: existing files and directories. ``missing``: words, as typed, that do not name one. ``folder``: the path,
    if it is the only one and a directory.
    """

    paths: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()
    folder: Path | None = None


class Completion(FrozenStruct, frozen=True, kw_only=True):
    """The result of completing a path.

    ``text``: the input, completed as far as possible. ``candidates``: the matching names, if there are several.
    ``unprintable``: the number of matching names that cannot be typed.
    """

    text: str
    candidates: tuple[str, ...] = ()
    unprintable: int = 0


def parse_paths(text: str, base: Path) -> ParsedPaths:
    """Return the paths in ``text``, in order; relative paths are resolved against ``base``.

    A line that names an existing file as it stands, including spaces and quotation marks, is one path; other lines are
    split like a shell command.
    """
    paths: list[Path] = []
    missing: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        parsed = _parse_line(line, base)
        paths += parsed.paths
        missing += parsed.missing
    folder = paths[0] if len(paths) == 1 and not missing and os.path.isdir(paths[0]) else None  # noqa: PTH112
    return ParsedPaths(paths=tuple(dict.fromkeys(paths)), missing=tuple(missing), folder=folder)


def resolve_path(word: str, base: Path) -> Path:
    """Return the absolute path that one word stands for; it need not exist."""
    if word.startswith("file://"):
        word = unquote(urlsplit(word).path, errors="surrogateescape")
    try:
        path = Path(word).expanduser()
    except RuntimeError:  # ``~user`` with an unknown user
        path = Path(word)
    return Path(os.path.normpath(base / path))


def complete_path(text: str, base: Path, *, folders_only: bool = False) -> Completion:
    """Complete a path. Hidden files match only if the leading dot is typed."""
    if text in ("~", "..") or text.endswith("/.."):
        return Completion(text=f"{text}/")
    folder, prefix = os.path.split(text)
    names = _list_names(resolve_path(folder or ".", base), prefix, folders_only=folders_only)
    typable = [name for name in names if name.isprintable()]
    unprintable = len(names) - len(typable)
    if not typable:
        return Completion(text=text, unprintable=unprintable)
    common = os.path.commonprefix(typable)  # noqa: RUF071 - compares characters, not path components
    completed = os.path.join(folder, common)  # noqa: PTH118 - Path would drop the ``./`` of ``./a``
    candidates = tuple(typable[:MAX_CANDIDATES]) if len(typable) > 1 else ()
    return Completion(text=completed, candidates=candidates, unprintable=unprintable)


def _parse_line(line: str, base: Path) -> ParsedPaths:
    line_path = resolve_path(line, base)
    if os.path.lexists(line_path):
        return ParsedPaths(paths=(line_path,))
    try:
        words = shlex.split(line)
    except ValueError:
        words = [line]
    paths = {word: resolve_path(word, base) for word in words}
    missing = tuple(word for word, path in paths.items() if not os.path.lexists(path))
    if len(missing) == len(paths):
        return ParsedPaths(missing=(line,))
    return ParsedPaths(paths=tuple(path for word, path in paths.items() if word not in missing), missing=missing)


def _list_names(folder: Path, prefix: str, *, folders_only: bool) -> list[str]:
    """Return the sorted names in ``folder`` that start with ``prefix``; none if ``folder`` cannot be read.

    Names of directories end with a slash.
    """
    try:
        with os.scandir(folder) as entries:
            matches = [(entry.name, entry.is_dir()) for entry in entries if entry.name.startswith(prefix)]
    except (OSError, ValueError):
        return []
    include_hidden = prefix.startswith(".")
    return sorted(
        f"{name}/" if is_folder else name
        for name, is_folder in matches
        if (include_hidden or not name.startswith(".")) and (is_folder or not folders_only)
    )
