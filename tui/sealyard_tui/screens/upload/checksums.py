"""Parser for expected checksums: the output of ``sha256sum`` or of the BSD ``sha256`` command, or a single digest."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from sealyard.model.base import FrozenStruct
from sealyard.model.digests import SHA256_PATTERN, parse_sha256

_DIGEST = rf"(?P<digest>{SHA256_PATTERN})"
_GNU = re.compile(rf"(?P<escaped>\\?){_DIGEST} [ *](?P<name>.+)")
_BSD = re.compile(rf"SHA2?-?256 ?\((?P<name>.+)\) ?= ?{_DIGEST}")
_BARE = re.compile(_DIGEST)
_ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r"}


class Checksum(FrozenStruct, frozen=True, kw_only=True):
    """An expected SHA-256 checksum.

    ``name``: the name or path of the file; empty for a digest without a name. ``sha256``: the digest in lowercase hex.
    """

    name: str
    sha256: str

    def matches_path(self, path: str) -> bool:
        """Return whether the last components of ``path`` are the components of :attr:`name`."""
        parts = PurePosixPath(self.name).parts
        return bool(parts) and PurePosixPath(path).parts[-len(parts) :] == parts

    def matches_name(self, path: str) -> bool:
        """Return whether ``path`` and :attr:`name` have the same file name."""
        return bool(self.name) and PurePosixPath(self.name).name == PurePosixPath(path).name


def parse_checksums(text: str) -> tuple[Checksum, ...] | None:
    """Parse checksums, one per line. Returns None if ``text`` is blank or contains a line in another format."""
    checksums = [_parse_line(line.strip()) for line in text.splitlines() if line.strip()]
    if not checksums or None in checksums:
        return None
    return tuple(each for each in checksums if each is not None)


def find_checksum(path: str, checksums: tuple[Checksum, ...]) -> str:
    """Return the expected digest for ``path``, or an empty string if there is none.

    A checksum that matches the path takes precedence over one that matches only the file name.
    """
    matches = [each for each in checksums if each.matches_path(path)] or [
        each for each in checksums if each.matches_name(path)
    ]
    return matches[0].sha256 if matches else ""


def _parse_line(line: str) -> Checksum | None:
    match = _GNU.fullmatch(line) or _BSD.fullmatch(line) or _BARE.fullmatch(line)
    if match is None:
        return None
    groups = match.groupdict()
    name = groups.get("name") or ""
    if groups.get("escaped"):
        name = re.sub(r"\\[\\nr]", lambda each: _ESCAPES[each[0]], name)
    return Checksum(name=name.removeprefix("./"), sha256=parse_sha256(groups["digest"]))
