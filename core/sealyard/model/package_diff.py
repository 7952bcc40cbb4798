"""Comparison of a package with the last released package of the same device configuration. Performs no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from enum import StrEnum
from pathlib import PurePath

from sealyard.model.base import FrozenStruct
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.tasks import InputFile, Task


class ChangeKind(StrEnum):
    """Kind of change to a file between two packages."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    RENAMED = "renamed"
    SAME = "same"


_NAMING_TERMS = frozenset({"name", "configuration", "content type", "approvals required"})
"""The attributes of a package that do not affect what a device receives."""

_DIGITS = re.compile(r"\d+")


class FileChange(FrozenStruct, frozen=True, kw_only=True):
    """The old and new versions of a file. ``before`` is None if the file was added, ``after`` if it was removed.

    A ``RENAMED`` file has the same content. A ``CHANGED`` file may also have a different name, because file names
    often contain the release version.
    """

    kind: ChangeKind
    before: InputFile | None
    after: InputFile | None

    @property
    def name(self) -> str:
        """File name, or the old and new names if they differ. Untrusted text."""
        names = dict.fromkeys(each.name for each in (self.before, self.after) if each is not None)
        return " → ".join(names)

    @property
    def growth(self) -> int:
        """Change in size in bytes; negative if the file became smaller."""
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)


class AttributeChange(FrozenStruct, frozen=True, kw_only=True):
    """A changed attribute of a package. Its values ``before`` and ``after`` are untrusted text; empty if not set."""

    term: str
    before: str
    after: str


class PackageDiff(FrozenStruct, frozen=True, kw_only=True):
    """Differences between two packages.

    ``firmware`` and ``metadata`` include unchanged files. ``terms``: the changed attributes. ``reordered``: whether the
    order of the firmware files differs.
    """

    firmware: tuple[FileChange, ...]
    metadata: tuple[FileChange, ...]
    terms: tuple[AttributeChange, ...]
    reordered: bool

    @property
    def is_empty(self) -> bool:
        files = (*self.firmware, *self.metadata)
        return not self.terms and not self.reordered and all(each.kind is ChangeKind.SAME for each in files)

    @property
    def is_repetition(self) -> bool:
        """Whether the packages have the same content under the same keys, even if names of tasks or files differ."""
        files = (*self.firmware, *self.metadata)
        is_same_content = all(change.kind in (ChangeKind.SAME, ChangeKind.RENAMED) for change in files)
        return is_same_content and not self.reordered and {change.term for change in self.terms} <= _NAMING_TERMS


def diff_packages(previous: Task, task: Task) -> PackageDiff:
    return PackageDiff(
        firmware=tuple(_compare_files(previous.inputs, task.inputs)),
        metadata=tuple(_compare_files(previous.metadata, task.metadata, pair_by_extension=True)),
        terms=tuple(_compare_terms(previous, task)),
        reordered=_is_reordered(previous.inputs, task.inputs),
    )


def format_key(key: EncryptionKey | SigningKey | None) -> str:
    """Format a key, for example as ``AES256_CBC_PKCS7_PAD with local:keys version 1``; empty for None."""
    if key is None:
        return ""
    name = f" ({key.name})" if key.name else ""
    return f"{key.algorithm} with {key.uri} version {key.version}{name}"


def _compare_files(
    old_files: Sequence[InputFile], new_files: Sequence[InputFile], *, pair_by_extension: bool = False
) -> Iterator[FileChange]:
    """Yield a change for each of ``new_files`` in order, then for each removed file in the order of ``old_files``.

    ``pair_by_extension``: also match the only remaining files with an extension, so that their fields are compared.
    """
    pairs = _match_files(old_files, new_files)
    if pair_by_extension:
        pairs |= _match_by_extension(old_files, new_files, pairs)
    for index, file in enumerate(new_files):
        old_file = old_files[pairs[index]] if index in pairs else None
        yield FileChange(kind=_classify_change(old_file, file), before=old_file, after=file)
    for index, file in enumerate(old_files):
        if index not in pairs.values():
            yield FileChange(kind=ChangeKind.REMOVED, before=file, after=None)


def _match_files(old_files: Sequence[InputFile], new_files: Sequence[InputFile]) -> dict[int, int]:
    """Map the indexes of new files to the indexes of matching old files.

    Files are matched by name, then by content, then by names that differ only in digits.
    """
    pairs: dict[int, int] = {}
    for match_key in (lambda file: file.name, lambda file: file.sha256, lambda file: _DIGITS.sub("0", file.name)):
        unmatched_indexes: dict[str, list[int]] = {}
        for index, file in enumerate(old_files):
            if index not in pairs.values():
                unmatched_indexes.setdefault(match_key(file), []).append(index)
        for index, file in enumerate(new_files):
            if index not in pairs and unmatched_indexes.get(match_key(file)):
                pairs[index] = unmatched_indexes[match_key(file)].pop(0)
    return pairs


def _match_by_extension(
    old_files: Sequence[InputFile], new_files: Sequence[InputFile], pairs: Mapping[int, int]
) -> dict[int, int]:
    """Map the index of a new file to that of an old one if no other unmatched file has the same extension."""
    old_indexes = _group_by_extension(old_files, set(pairs.values()))
    new_indexes = _group_by_extension(new_files, set(pairs))
    return {
        indexes[0]: old_indexes[extension][0]
        for extension, indexes in new_indexes.items()
        if extension and len(indexes) == len(old_indexes.get(extension, ())) == 1
    }


def _group_by_extension(files: Sequence[InputFile], matched_indexes: AbstractSet[int]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for index, file in enumerate(files):
        if index not in matched_indexes:
            groups.setdefault(PurePath(file.name).suffix.casefold(), []).append(index)
    return groups


def _classify_change(old_file: InputFile | None, new_file: InputFile) -> ChangeKind:
    if old_file is None:
        return ChangeKind.ADDED
    if old_file.sha256 != new_file.sha256:
        return ChangeKind.CHANGED
    return ChangeKind.SAME if old_file.name == new_file.name else ChangeKind.RENAMED


def _is_reordered(old_files: Sequence[InputFile], new_files: Sequence[InputFile]) -> bool:
    pairs = _match_files(old_files, new_files)
    positions = [pairs[index] for index in sorted(pairs)]
    return positions != sorted(positions)


def _compare_terms(old_task: Task, new_task: Task) -> Iterator[AttributeChange]:
    old_terms, new_terms = _read_terms(old_task), _read_terms(new_task)
    for term, text in new_terms.items():
        if text != old_terms[term]:
            yield AttributeChange(term=term, before=old_terms[term], after=text)


def _read_terms(task: Task) -> dict[str, str]:
    return {
        "name": task.name,
        "configuration": f"{task.config_name} version {task.config_version}",
        "content type": task.content_type,
        "format": task.format,
        "encryption": format_key(task.encryption_key),
        "signing": format_key(task.signing_key),
        "approvals required": str(task.approvals_required),
    }
