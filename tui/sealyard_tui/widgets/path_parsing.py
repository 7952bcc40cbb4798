"""Paths as users type, paste and drop them: one or several, shell-quoted, as URLs, relative or with ``~``.

All functions access the disk: never call them on a loop.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sealyard.model.base import FrozenStruct

MAX_CANDIDATES = 200


class ParsedPaths(FrozenStruct, frozen=True, kw_only=True):
    """``missing``: words that name nothing, as typed. ``folder``: set if a directory is the only result."""

    paths: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()
    folder: Path | None = None


class Completion(FrozenStruct, frozen=True, kw_only=True):
    """``text`` is the input, completed as far as possible; ``candidates`` are names, if there are several."""

    text: str
    candidates: tuple[str, ...] = ()
    unprintable: int = 0


def parse_paths(text: str, base: Path) -> ParsedPaths:
    """Return the paths that ``text`` names, in its order; relative paths start from ``base``.

    A whole line that exists is that file, including spaces and quotation marks in its name; other lines are split as by
    a shell.
    """
    paths: list[Path] = []
    missing: list[str] = []
    for line in filter(None, (each.strip() for each in text.splitlines())):
        found = _split_line(line, base)
        paths += found.paths
        missing += found.missing
    folder = paths[0] if len(paths) == 1 and not missing and os.path.isdir(paths[0]) else None  # noqa: PTH112
    return ParsedPaths(paths=tuple(dict.fromkeys(paths)), missing=tuple(missing), folder=folder)


def resolve_path(word: str, base: Path) -> Path:
    """Return an absolute path for one word; it need not exist."""
    if word.startswith("file://"):
        word = unquote(urlsplit(word).path, errors="surrogateescape")
    try:
        path = Path(word).expanduser()
    except RuntimeError:  # the home directory of an unknown user
        path = Path(word)
    return Path(os.path.normpath(base / path))


def complete_path(text: str, base: Path, *, folders_only: bool = False) -> Completion:
    """Complete a path. Hidden names are offered only if their dot is typed. Names that cannot be typed are counted
    only.
    """
    if text in ("~", "..") or text.endswith("/.."):
        return Completion(text=f"{text}/")
    head, tail = os.path.split(text)
    names = _names(resolve_path(head or ".", base), tail, folders_only=folders_only)
    typable = [name for name in names if name.isprintable()]
    unprintable = len(names) - len(typable)
    if not typable:
        return Completion(text=text, unprintable=unprintable)
    common = os.path.commonprefix(typable)  # noqa: RUF071 - characters of names, not parts of paths
    completed = os.path.join(head, common)  # noqa: PTH118 - `./a` stays as it was typed
    candidates = tuple(typable[:MAX_CANDIDATES]) if len(typable) > 1 else ()
    return Completion(text=completed, candidates=candidates, unprintable=unprintable)


def _split_line(line: str, base: Path) -> ParsedPaths:
    whole = resolve_path(line, base)
    if os.path.lexists(whole):
        return ParsedPaths(paths=(whole,))
    try:
        words = shlex.split(line)
    except ValueError:
        words = [line]
    found = {word: resolve_path(word, base) for word in words}
    missing = tuple(word for word, path in found.items() if not os.path.lexists(path))
    if len(missing) == len(found):
        return ParsedPaths(missing=(line,))
    return ParsedPaths(paths=tuple(path for word, path in found.items() if word not in missing), missing=missing)


def _names(folder: Path, beginning: str, *, folders_only: bool) -> list[str]:
    """Return sorted names, those of directories with a slash; none if the directory cannot be read."""
    try:
        with os.scandir(folder) as entries:
            found = [(each.name, each.is_dir()) for each in entries if each.name.startswith(beginning)]
    except (OSError, ValueError):
        return []
    hidden = beginning.startswith(".")
    return sorted(
        f"{name}/" if is_folder else name
        for name, is_folder in found
        if (hidden or not name.startswith(".")) and (is_folder or not folders_only)
    )
