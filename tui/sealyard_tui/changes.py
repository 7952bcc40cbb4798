"""What is different from the last package of the same configuration: what an approver looks at first. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from enum import StrEnum

from sealyard.model.devices import EncryptionKey, SigningKey
from sealyard.model.tasks import InputFile, Task
from sealyard.model.value import Value


class Kind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    SAME = "same"


class FileChange(Value, frozen=True, kw_only=True):
    """One file then and now; ``before`` is None where it was added, ``after`` where it was removed."""

    kind: Kind
    before: InputFile | None
    after: InputFile | None

    @property
    def name(self) -> str:
        """Foreign text."""
        file = self.after or self.before
        return file.name if file is not None else ""

    @property
    def growth(self) -> int:
        """Bytes more than before; less than 0 where it became smaller."""
        return (self.after.size if self.after else 0) - (self.before.size if self.before else 0)


class TermChange(Value, frozen=True, kw_only=True):
    """Something said about the package that is not a file; both texts are foreign, an empty one means none."""

    term: str
    before: str
    after: str


class Changes(Value, frozen=True, kw_only=True):
    """``reordered``: the firmware that was there before comes in another order now."""

    firmware: tuple[FileChange, ...]
    metadata: tuple[FileChange, ...]
    terms: tuple[TermChange, ...]
    reordered: bool

    @property
    def nothing(self) -> bool:
        files = (*self.firmware, *self.metadata)
        return not self.terms and not self.reordered and all(each.kind is Kind.SAME for each in files)


def changes(previous: Task, task: Task) -> Changes:
    return Changes(
        firmware=tuple(_file_changes(previous.inputs, task.inputs)),
        metadata=tuple(_file_changes(previous.metadata, task.metadata)),
        terms=tuple(_term_changes(previous, task)),
        reordered=_reordered(previous.inputs, task.inputs),
    )


def key_text(key: EncryptionKey | SigningKey | None) -> str:
    """``AES256_CBC_PKCS7_PAD with local:gateway-encryption version 1``; empty where there is no key."""
    return f"{key.algorithm} with {key.uri} version {key.version}" if key is not None else ""


def _file_changes(before: Iterable[InputFile], after: Iterable[InputFile]) -> Iterator[FileChange]:
    """In the order of now, then what was removed in the order of then."""
    then, now = _named(before), _named(after)
    for name, file in now.items():
        earlier = then.get(name)
        yield FileChange(kind=_kind(earlier, file), before=earlier, after=file)
    for name, file in then.items():
        if name not in now:
            yield FileChange(kind=Kind.REMOVED, before=file, after=None)


def _named(files: Iterable[InputFile]) -> dict[tuple[str, int], InputFile]:
    """By name, and by the how-manieth it is of those that have the same."""
    seen: Counter[str] = Counter()
    named = {}
    for file in files:
        named[file.name, seen[file.name]] = file
        seen[file.name] += 1
    return named


def _kind(before: InputFile | None, after: InputFile) -> Kind:
    if before is None:
        return Kind.ADDED
    return Kind.SAME if before.sha256 == after.sha256 else Kind.CHANGED


def _reordered(before: Iterable[InputFile], after: Iterable[InputFile]) -> bool:
    then, now = list(_named(before)), list(_named(after))
    return [each for each in then if each in now] != [each for each in now if each in then]


def _term_changes(before: Task, after: Task) -> Iterator[TermChange]:
    then, now = _terms(before), _terms(after)
    for term, text in now.items():
        if text != then[term]:
            yield TermChange(term=term, before=then[term], after=text)


def _terms(task: Task) -> dict[str, str]:
    return {
        "name": task.name,
        "configuration": f"{task.config_name} version {task.config_version}",
        "content type": task.content_type,
        "format": task.format,
        "encryption": key_text(task.encryption_key),
        "signing": key_text(task.signing_key),
        "approvals needed": str(task.approvals_required),
    }
