"""Expected checksums in the formats of ``sha256sum`` and of BSD's ``sha256``, or a single digest."""

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
    """``name`` as listed, perhaps with directories; empty for a single digest. ``sha256`` is lower case hex."""

    name: str
    sha256: str

    def matches_path(self, path: str) -> bool:
        """Return whether ``path`` ends with the listed name."""
        listed = PurePosixPath(self.name).parts
        return bool(listed) and PurePosixPath(path).parts[-len(listed) :] == listed

    def matches_name(self, path: str) -> bool:
        """Return whether the last part of the name is the same."""
        return bool(self.name) and PurePosixPath(self.name).name == PurePosixPath(path).name


def parse_checksums(text: str) -> tuple[Checksum, ...] | None:
    """Parse a list of checksums; None if a line has another format."""
    found = [_checksum(line.strip()) for line in text.splitlines() if line.strip()]
    if not found or None in found:
        return None
    return tuple(each for each in found if each is not None)


def find_checksum(path: str, checksums: tuple[Checksum, ...]) -> str:
    """Return the digest of a file, by its whole listed name, else by the last part; empty if it is not listed."""
    fitting = [each for each in checksums if each.matches_path(path)] or [
        each for each in checksums if each.matches_name(path)
    ]
    return fitting[0].sha256 if fitting else ""


def _checksum(line: str) -> Checksum | None:
    match = _GNU.fullmatch(line) or _BSD.fullmatch(line) or _BARE.fullmatch(line)
    if match is None:
        return None
    found = match.groupdict()
    name = found.get("name") or ""
    if found.get("escaped"):
        name = re.sub(r"\\[\\nr]", lambda each: _ESCAPES[each[0]], name)
    return Checksum(name=name.removeprefix("./"), sha256=parse_sha256(found["digest"]))
