"""Parsing and completion of paths that users type, paste or drop.

A path may be relative, shell-quoted or a file URL, start with ``~``, or be a pattern such as ``fw/*.bin``.

All functions access the file system and must not be called on an event loop.
"""

from __future__ import annotations

import os
import shlex
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sealyard.model.base import FrozenStruct
from sealyard.model.safe_text import escape_text
from sealyard_tui.widgets.path_patterns import PatternTooBroadError, expand_pattern, is_pattern

MAX_CANDIDATES = 200
"""Maximum number of candidates in a completion."""


class PathProblem(StrEnum):
    """Why a word of the input is not a path. The values are shown to the user, before the word."""

    NOT_FOUND = "not found"
    NO_MATCH = "no file matches"
    TOO_BROAD = "too many files match"
    UNBALANCED = "unbalanced quotation mark"


class ParsedPaths(FrozenStruct, frozen=True, kw_only=True):
    """The result of parsing typed paths.

    ``paths``: existing files and directories, and the files that match a pattern. ``problems``: the other words of the
    input, each with the reason. ``remaining``: the part of the input to correct; lines without any path are unchanged.
    ``folder``: the directory if the input is a single existing directory; otherwise None.
    """

    paths: tuple[Path, ...] = ()
    problems: tuple[tuple[str, PathProblem], ...] = ()
    remaining: str = ""
    folder: Path | None = None

    @property
    def problem_text(self) -> str:
        """The words of each problem as safe text; empty if there is no problem."""
        reasons = dict.fromkeys(reason for _, reason in self.problems)
        return "; ".join(f"{reason}: {self._join_words(reason)}" for reason in reasons)

    def _join_words(self, problem: PathProblem) -> str:
        return escape_text(", ".join(word for word, reason in self.problems if reason is problem), 200)


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
    marks. Other lines are split like a shell command. A word is a pattern if no file has its name.
    """
    lines = [_parse_line(line, base) for line in filter(None, map(str.strip, text.splitlines()))]
    paths = [path for line in lines for path in line.paths]
    problems = tuple(problem for line in lines for problem in line.problems)
    folder = paths[0] if len(paths) == 1 and not problems and os.path.isdir(paths[0]) else None  # noqa: PTH112
    remaining = " ".join(line.remaining for line in lines if line.remaining)
    return ParsedPaths(paths=tuple(dict.fromkeys(paths)), problems=problems, remaining=remaining, folder=folder)


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
        return ParsedPaths(problems=((line, PathProblem.UNBALANCED),), remaining=line)
    results = {word: _resolve_word(word, base) for word in words}
    paths = [path for result in results.values() if isinstance(result, tuple) for path in result]
    if not paths:
        result = _resolve_word(line, base)  # for example a pattern in a folder whose name contains a space
        if isinstance(result, PathProblem):
            return ParsedPaths(problems=((line, result),), remaining=line)
        paths, results = list(result), {}
    problems = [(word, result) for word, result in results.items() if isinstance(result, PathProblem)]
    remaining = shlex.join(word for word, _ in problems)
    return ParsedPaths(paths=tuple(paths), problems=tuple(problems), remaining=remaining)


def _resolve_word(word: str, base: Path) -> tuple[Path, ...] | PathProblem:
    """Return the path of ``word``, or the files that match it, or the reason why there are none."""
    path = resolve_path(word, base)
    if os.path.lexists(path):
        return (path,)
    if not is_pattern(word) or word.startswith("file://"):
        return PathProblem.NOT_FOUND
    try:
        return expand_pattern(path) or PathProblem.NO_MATCH
    except PatternTooBroadError:
        return PathProblem.TOO_BROAD


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
