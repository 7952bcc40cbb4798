"""Checks of the files of a request that need only their names and digests. Return warnings as safe text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from sealyard.model.formatting import format_time, shorten_middle
from sealyard.model.package_diff import diff_packages
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, Task

MAX_LISTED_NAMES = 3
WARNING_NAME_LENGTH = 60
MAX_PACKAGE_NAME_LENGTH = 200


def duplicate_warnings(files: Iterable[InputFile]) -> tuple[str, ...]:
    """Return a warning for each content that several of the files have."""
    names_by_digest: dict[str, list[str]] = {}
    for file in files:
        names_by_digest.setdefault(file.sha256, []).append(file.name)
    return tuple(
        f"Same content in {len(names)} files: {_join_names(names)}."
        for names in names_by_digest.values()
        if len(names) > 1
    )


def repetition_warning(previous: Task | None, task: Task) -> str:
    """Return a warning if ``task`` packs the same files in the same way as ``previous``, the last released package."""
    if previous is None or not diff_packages(previous, task).is_repetition:
        return ""
    name = escape_text(previous.name or previous.id, WARNING_NAME_LENGTH)
    return f"Same files and keys as the last released package: {name}, {format_time(previous.created_at)}."


def default_package_name(firmware_names: Sequence[str]) -> str:
    """Return the name of a package that was requested without one: ``app.bin``, or ``app and 9 more``.

    ``firmware_names``: untrusted file names, in packing order; the name consists of the same characters.
    """
    if not firmware_names:
        return ""
    if len(firmware_names) == 1:
        return shorten_middle(firmware_names[0], MAX_PACKAGE_NAME_LENGTH)
    more = f" and {len(firmware_names) - 1} more"
    return shorten_middle(PurePath(firmware_names[0]).stem, MAX_PACKAGE_NAME_LENGTH - len(more)) + more


def _join_names(names: Sequence[str]) -> str:
    listed_names = [escape_text(name, WARNING_NAME_LENGTH) for name in names[:MAX_LISTED_NAMES]]
    more = [f"and {len(names) - MAX_LISTED_NAMES} more"] if len(names) > MAX_LISTED_NAMES else []
    return ", ".join([*listed_names, *more])
