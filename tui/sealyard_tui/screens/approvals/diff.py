"""What is different from the last package of the same configuration: what an approver looks at first. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum

from sealyard.model.base import FrozenStruct
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.tasks import InputFile, Task


class ChangeKind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    RENAMED = "renamed"
    SAME = "same"


_DIGITS = re.compile(r"\d+")


class FileChange(FrozenStruct, frozen=True, kw_only=True):
    """One file then and now; ``before`` is None where it was added, ``after`` where it was removed.

    RENAMED: the same content. A file that CHANGED may have another name too: release files carry version numbers.
    """

    kind: ChangeKind
    before: InputFile | None
    after: InputFile | None

    @property
    def name(self) -> str:
        """Foreign text; both names where they differ."""
        names = dict.fromkeys(each.name for each in (self.before, self.after) if each is not None)
        return " → ".join(names)

    @property
    def growth(self) -> int:
        """Bytes more than before; less than 0 where it became smaller."""
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)


class AttributeChange(FrozenStruct, frozen=True, kw_only=True):
    """Something said about the package that is not a file; both texts are foreign, an empty one means none."""

    term: str
    before: str
    after: str


class PackageDiff(FrozenStruct, frozen=True, kw_only=True):
    """``reordered``: the firmware that was there before comes in another order now."""

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
    """``AES256_CBC_PKCS7_PAD with local:gateway-encryption version 1``; empty where there is no key."""
    return f"{key.algorithm} with {key.uri} version {key.version}" if key is not None else ""


def _file_changes(before: Sequence[InputFile], after: Sequence[InputFile]) -> Iterator[FileChange]:
    """In the order of now, then what was removed in the order of then."""
    pairs = _match_files(before, after)
    for place, file in enumerate(after):
        earlier = before[pairs[place]] if place in pairs else None
        yield FileChange(kind=_kind(earlier, file), before=earlier, after=file)
    for place, file in enumerate(before):
        if place not in pairs.values():
            yield FileChange(kind=ChangeKind.REMOVED, before=file, after=None)


def _match_files(before: Sequence[InputFile], after: Sequence[InputFile]) -> dict[int, int]:
    """Which place of now was which then: by name, else by content, else by a name of which only numbers differ."""
    pairs: dict[int, int] = {}
    for likeness in (lambda file: file.name, lambda file: file.sha256, lambda file: _DIGITS.sub("0", file.name)):
        free: dict[str, list[int]] = {}
        for place, file in enumerate(before):
            if place not in pairs.values():
                free.setdefault(likeness(file), []).append(place)
        for place, file in enumerate(after):
            if place not in pairs and free.get(likeness(file)):
                pairs[place] = free[likeness(file)].pop(0)
    return pairs


def _kind(before: InputFile | None, after: InputFile) -> ChangeKind:
    if before is None:
        return ChangeKind.ADDED
    if before.sha256 != after.sha256:
        return ChangeKind.CHANGED
    return ChangeKind.SAME if before.name == after.name else ChangeKind.RENAMED


def _reordered(before: Sequence[InputFile], after: Sequence[InputFile]) -> bool:
    pairs = _match_files(before, after)
    places = [pairs[place] for place in sorted(pairs)]
    return places != sorted(places)


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
        "approvals needed": str(task.approvals_required),
    }
