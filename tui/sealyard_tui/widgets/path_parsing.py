"""Parsing and completion of paths that users type, paste or drop.

A path may be relative, shell-quoted or a file URL, or start with ``~``.

All functions access the file system and must not be called on an event loop.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sealyard.model.base import FrozenStruct

MAX_CANDIDATES = 200
"""Maximum number of candidates in a completion."""


class ParsedPaths(FrozenStruct, frozen=True, kw_only=True):
    """The result of parsing typed paths.

    ``paths``: existing files and directories. ``missing``: words of the input that are not the path of an existing file
    or directory. ``folder``: the directory if the input is a single existing directory; otherwise None.
    """

    paths: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()
    folder: Path | None = None


class Completion(FrozenStruct, frozen=True, kw_only=True):
    """The result of completing a path.

    ``text``: the input, completed as far as possible. ``candidates``: the matching names, if there are several.
    ``unprintable``: the number of matching names omitted because they contain unprintable characters.
    """

    text: str
    candidates: tuple[str, ...] = ()
    unprintable: int = 0


def parse_paths(text: str, base: Path) -> ParsedPaths:
    """Parse the paths in ``text``, in order; relative paths are resolved against ``base``.

    A line that is, as a whole, the path of an existing file is not split, even if it contains spaces or quotation
    marks. Other lines are split like a shell command.
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
    """Resolve a path or file URL against ``base``, and return the absolute path, which need not exist."""
    if word.startswith("file://"):
        word = unquote(urlsplit(word).path, errors="surrogateescape")
    try:
        path = Path(word).expanduser()
    except RuntimeError:  # ``~user`` with an unknown user
        path = Path(word)
    return Path(os.path.normpath(base / path))


def complete_path(text: str, base: Path, *, folders_only: bool = False) -> Completion:
    """Complete the last component of a path. Hidden files match only if the leading dot has been typed.

    ``base``: the directory against which relative paths are resolved. ``folders_only``: whether only directories match.
    """
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

    Hidden names are included only if ``prefix`` starts with a dot. Names of directories end with a slash.
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
