"""Differences from the last package of the same configuration. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum

from sealyard.model.base import FrozenStruct
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.tasks import InputFile, Task


class ChangeKind(StrEnum):
    """How a file differs."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    RENAMED = "renamed"
    SAME = "same"


_DIGITS = re.compile(r"\d+")


class FileChange(FrozenStruct, frozen=True, kw_only=True):
    """One file before and after; ``before`` is None if it was added, ``after`` if it was removed.

    RENAMED: the same content. A file that CHANGED may have another name, too: names of releases contain version
    numbers.
    """

    kind: ChangeKind
    before: InputFile | None
    after: InputFile | None

    @property
    def name(self) -> str:
        """The name, or both names if they differ; foreign text."""
        names = dict.fromkeys(each.name for each in (self.before, self.after) if each is not None)
        return " → ".join(names)

    @property
    def growth(self) -> int:
        """Difference in bytes; negative if the file became smaller."""
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)


class AttributeChange(FrozenStruct, frozen=True, kw_only=True):
    """A changed attribute of the package; both texts are foreign, an empty one means none."""

    term: str
    before: str
    after: str


class PackageDiff(FrozenStruct, frozen=True, kw_only=True):
    """All differences. ``reordered``: the order of the remaining firmware files has changed."""

    firmware: tuple[FileChange, ...]
    metadata: tuple[FileChange, ...]
    terms: tuple[AttributeChange, ...]
    reordered: bool

    @property
    def is_empty(self) -> bool:
        files = (*self.firmware, *self.metadata)
        return not self.terms and not self.reordered and all(each.kind is ChangeKind.SAME for each in files)


def diff_packages(previous: Task, task: Task) -> PackageDiff:
    return PackageDiff(
        firmware=tuple(_file_changes(previous.inputs, task.inputs)),
        metadata=tuple(_file_changes(previous.metadata, task.metadata)),
        terms=tuple(_term_changes(previous, task)),
        reordered=_reordered(previous.inputs, task.inputs),
    )


def format_key(key: EncryptionKey | SigningKey | None) -> str:
    """Return a key as ``AES256_CBC_PKCS7_PAD with local:gateway-encryption version 1``; empty for None."""
    if key is None:
        return ""
    name = f" ({key.name})" if key.name else ""
    return f"{key.algorithm} with {key.uri} version {key.version}{name}"


def _file_changes(before: Sequence[InputFile], after: Sequence[InputFile]) -> Iterator[FileChange]:
    """Yield the changes in the new order, then the removed files in the old order."""
    pairs = _match_files(before, after)
    for index, file in enumerate(after):
        earlier = before[pairs[index]] if index in pairs else None
        yield FileChange(kind=_kind(earlier, file), before=earlier, after=file)
    for index, file in enumerate(before):
        if index not in pairs.values():
            yield FileChange(kind=ChangeKind.REMOVED, before=file, after=None)


def _match_files(before: Sequence[InputFile], after: Sequence[InputFile]) -> dict[int, int]:
    """Map new indices to old ones: by name, else by content, else by a name that differs in numbers only."""
    pairs: dict[int, int] = {}
    for likeness in (lambda file: file.name, lambda file: file.sha256, lambda file: _DIGITS.sub("0", file.name)):
        free: dict[str, list[int]] = {}
        for index, file in enumerate(before):
            if index not in pairs.values():
                free.setdefault(likeness(file), []).append(index)
        for index, file in enumerate(after):
            if index not in pairs and free.get(likeness(file)):
                pairs[index] = free[likeness(file)].pop(0)
    return pairs


def _kind(before: InputFile | None, after: InputFile) -> ChangeKind:
    if before is None:
        return ChangeKind.ADDED
    if before.sha256 != after.sha256:
        return ChangeKind.CHANGED
    return ChangeKind.SAME if before.name == after.name else ChangeKind.RENAMED


def _reordered(before: Sequence[InputFile], after: Sequence[InputFile]) -> bool:
    pairs = _match_files(before, after)
    positions = [pairs[index] for index in sorted(pairs)]
    return positions != sorted(positions)


def _term_changes(before: Task, after: Task) -> Iterator[AttributeChange]:
    then, now = _terms(before), _terms(after)
    for term, text in now.items():
        if text != then[term]:
            yield AttributeChange(term=term, before=then[term], after=text)


def _terms(task: Task) -> dict[str, str]:
    return {
        "name": task.name,
        "configuration": f"{task.config_name} version {task.config_version}",
        "content type": task.content_type,
        "format": task.format,
        "encryption": format_key(task.encryption_key),
        "signing": format_key(task.signing_key),
        "approvals required": str(task.approvals_required),
    }
