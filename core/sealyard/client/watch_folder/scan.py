"""Rules for which entries of a watch folder become packages.

- A regular file directly in the folder is one package with one firmware file.
- A subfolder is one package: its files, sorted by name, are the firmware files, and those in its folder ``metadata``
  the metadata files. Any other folder, symbolic link or special file in it is a problem that is reported to the user.
- An entry that cannot be read is also reported as a problem. It does not prevent other entries from becoming packages.
- Hidden files and other litter (:func:`~sealyard.client.watch_folder.names.is_litter`) are ignored. Directly in the
  watch folder, symbolic links, special files, lock files and files with the name of a partial one are ignored as well.
- An empty file, or a subfolder that contains an empty or partial file, is still being written and not ready.

Entries that have not changed for the settling time, and of which no file is open for writing, count as complete. See
:func:`~sealyard.fs.leases.is_open_for_writing` for the limits of that check.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from sealyard.client.watch_folder.names import is_litter, is_lock, is_partial
from sealyard.concurrency.threads import CheckCancelled
from sealyard.fs.hashing import path_sha256
from sealyard.fs.leases import is_open_for_writing
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import InvalidInputError
from sealyard.model.safe_text import escape_text

METADATA_DIR = "metadata"


class DroppedEntry(FrozenStruct, frozen=True, kw_only=True):
    """A file or subfolder in the watch folder. ``firmware`` and ``metadata`` are absolute paths, sorted by name.

    ``fingerprint`` changes with the name, size or modification time of any file in the entry. ``ready`` is false while
    the entry is still being written. ``problem`` states why the entry cannot become a package; empty if it can.
    """

    name: str
    path: str
    fingerprint: str
    ready: bool
    firmware: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    problem: str = ""


def scan(folder: Path) -> tuple[DroppedEntry, ...]:
    """Return the dropped entries in the watch folder ``folder``, sorted by name.

    Raises :class:`InvalidInputError` if the folder cannot be read.
    """
    try:
        dir_entries = _list_dir(folder)
    except OSError as error:
        raise InvalidInputError(
            f"Cannot read the watch folder {escape_text(str(folder))} ({escape_text(error.strerror or '')}).",
            "Check that it exists and that you have permission to read it.",
        ) from error
    return tuple(dropped_entry for entry in dir_entries if (dropped_entry := _read_entry(entry)) is not None)


def find_open_file(entry: DroppedEntry) -> str:
    """Return the name of a file of the entry that a program has open for writing; empty if there is none."""
    for path in map(Path, (*entry.firmware, *entry.metadata)):
        with suppress(OSError):  # a file that cannot be read is reported when its content is read
            if is_open_for_writing(path):
                return path.name
    return ""


def content_digest(drop_name: str, firmware: tuple[tuple[str, str], ...], metadata: tuple[tuple[str, str], ...]) -> str:
    """Return the SHA-256 (hex) of the names and digests of a package's files.

    ``firmware`` and ``metadata`` are pairs of file name and SHA-256 (hex).
    """
    return hashlib.sha256(msgspec.json.encode((drop_name, firmware, metadata))).hexdigest()


def entry_digest(entry: DroppedEntry, check_cancelled: CheckCancelled) -> str:
    """Return the :func:`content_digest` of the entry's files as they are now.

    Raises ``OSError`` if a file cannot be read.
    """

    def names_and_digests(paths: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        return tuple((Path(path).name, path_sha256(Path(path), check_cancelled)) for path in paths)

    return content_digest(entry.name, names_and_digests(entry.firmware), names_and_digests(entry.metadata))


def _read_entry(entry: os.DirEntry[str]) -> DroppedEntry | None:
    """Return the dropped entry for ``entry``, or None if it is to be ignored or was just removed."""
    if is_partial(entry.name) or is_lock(entry.name):
        return None
    try:
        if entry.is_symlink():
            return None
        if entry.is_dir():
            return _read_folder_entry(entry)
        if entry.is_file():
            return _read_file_entry(entry)
    except FileNotFoundError:
        return None
    except OSError as error:
        return _create_unreadable_entry(entry, error)
    return None


def _create_unreadable_entry(entry: os.DirEntry[str], error: OSError) -> DroppedEntry:
    """Return a :class:`DroppedEntry` with the problem that ``entry`` cannot be read.

    Its fingerprint is derived from the path and the reason, because size and modification time may be unknown. The same
    reason is therefore reported only once for each entry.
    """
    reason = escape_text(error.strerror or str(error))
    return DroppedEntry(
        name=_to_unicode(entry.name),
        path=_to_unicode(entry.path),
        fingerprint=hashlib.sha256(msgspec.json.encode((_to_unicode(entry.path), reason))).hexdigest(),
        ready=False,
        problem=f"Cannot read it ({reason}).",
    )


def _read_file_entry(entry: os.DirEntry[str]) -> DroppedEntry:
    size = entry.stat().st_size
    return DroppedEntry(
        name=_to_unicode(entry.name),
        path=_to_unicode(entry.path),
        fingerprint=_compute_fingerprint([entry]),
        ready=size > 0,
        firmware=(entry.path,),
        problem=_describe_invalid_name([entry]),
    )


def _read_folder_entry(entry: os.DirEntry[str]) -> DroppedEntry:
    children = _list_dir(Path(entry.path))
    metadata_dirs = [child for child in children if child.name == METADATA_DIR and child.is_dir(follow_symlinks=False)]
    firmware = [child for child in children if child not in metadata_dirs]
    metadata = [file for folder in metadata_dirs for file in _list_dir(Path(folder.path))]
    files = [*firmware, *metadata]
    problem = _describe_invalid_name([entry, *files]) or next(
        (text for file in files if (text := _describe_not_a_file(file))), ""
    )
    is_complete = all(not is_partial(file.name) and file.stat(follow_symlinks=False).st_size > 0 for file in files)
    return DroppedEntry(
        name=_to_unicode(entry.name),
        path=_to_unicode(entry.path),
        fingerprint=_compute_fingerprint(files),
        ready=bool(firmware) and is_complete,
        firmware=tuple(file.path for file in firmware),
        metadata=tuple(file.path for file in metadata),
        problem=problem,
    )


def _list_dir(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of ``folder`` that are not litter, sorted by name."""
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not is_litter(entry.name)), key=lambda entry: entry.name)


def _describe_not_a_file(entry: os.DirEntry[str]) -> str:
    if entry.is_file(follow_symlinks=False):
        return ""
    kind = "a symbolic link" if entry.is_symlink() else "a folder" if entry.is_dir() else "not a regular file"
    return (
        f"It contains {_to_unicode(entry.name)}, which is {kind}; only files and a folder {METADATA_DIR}/ are allowed."
    )


def _describe_invalid_name(entries: list[os.DirEntry[str]]) -> str:
    invalid_name = next((entry.name for entry in entries if _to_unicode(entry.name) != entry.name), None)
    return (
        f"The name {escape_text(_to_unicode(invalid_name))} is not valid Unicode." if invalid_name is not None else ""
    )


def _to_unicode(name: str) -> str:
    """Return ``name`` as valid Unicode. Undecodable bytes are replaced by backslash escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _compute_fingerprint(entries: list[os.DirEntry[str]]) -> str:
    file_states = [
        (_to_unicode(entry.path), stat.st_mode, stat.st_size, stat.st_mtime_ns)
        for entry in entries
        for stat in (entry.stat(follow_symlinks=False),)
    ]
    return hashlib.sha256(msgspec.json.encode(file_states)).hexdigest()
