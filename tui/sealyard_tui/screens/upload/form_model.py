"""The content of one upload form: files with the state of their uploads, and fields. No screen, no client."""

from __future__ import annotations

import uuid
from enum import StrEnum
from itertools import count
from pathlib import Path

import msgspec

from sealyard.client.watch_folder.events import PackageProposal
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import InvalidInputError, SealyardError
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, TaskKind

MAX_NAME_LENGTH = 200
"""Maximum length of a task's name."""

Request = PackageRequest | EncryptionRequest | SigningRequest


class FileRole(StrEnum):
    """The role of a file in the package."""

    FIRMWARE = "firmware"
    METADATA = "metadata"


class FileFingerprint(FrozenStruct, frozen=True, kw_only=True):
    """Identifies a version of a file on disk; ``modified`` in nanoseconds."""

    size: int
    modified: int


class FormFile(FrozenStruct, frozen=True, kw_only=True):
    """One file of the form. ``size`` is that on disk until ``file``, the uploaded one, is known.

    ``expected`` is a SHA-256 in lower case hex, or empty. ``stamp`` is the fingerprint at the time of the upload.
    """

    key: str
    path: Path
    part: FileRole = FileRole.FIRMWARE
    size: int = 0
    done: int = 0
    expected: str = ""
    file: InputFile | None = None
    stamp: FileFingerprint | None = None
    error: SealyardError | None = None

    @property
    def name(self) -> str:
        """Name of the file, as safe text."""
        return escape_text(self.path.name)

    @property
    def problem(self) -> SealyardError | None:
        """Why the file cannot be part of a task."""
        if self.error is None and self.file is not None and self.expected not in ("", self.file.sha256):
            return InvalidInputError(f"SHA-256 mismatch for {self.name}.", "Check the file or the expected digest.")
        return self.error

    @property
    def is_pending(self) -> bool:
        return self.file is None and self.error is None


class SubmittedSnapshot(FrozenStruct, frozen=True, kw_only=True):
    """The parts of a form that became a task."""

    keys: tuple[str, ...]
    name: str
    content_type: str
    taken: tuple[PackageProposal, ...]


class UploadForm:
    """The form of one identity. ``device`` is the id of a configuration; ``path_text`` the text of the path input."""

    def __init__(self) -> None:
        self.kind = TaskKind.PACKAGING
        self.device = ""
        self.name = ""
        self.content_type = ""
        self.path_text = ""
        self.hash_file = True
        """If the algorithm signs digests: hash the file, or use it as the digest."""
        self.taken: list[PackageProposal] = []
        """Proposals of the watch folder that were loaded into the form."""
        self.sending = False
        self._entries: dict[str, FormFile] = {}
        self._keys = count(1)
        self._asked: Request | None = None
        self._token = ""

    # ---- files

    @property
    def entries(self) -> list[FormFile]:
        """All files: firmware in its order, then metadata in its order."""
        every = list(self._entries.values())
        return [each for part in FileRole for each in every if each.part is part]

    def of(self, part: FileRole) -> list[FormFile]:
        return [each for each in self._entries.values() if each.part is part]

    def entry(self, key: str) -> FormFile | None:
        return self._entries.get(key)

    def add(self, path: Path, part: FileRole, expected: str = "") -> FormFile | None:
        """Add a file; None if it is in the form."""
        if any(each.path == path for each in self._entries.values()):
            return None
        entry = FormFile(key=str(next(self._keys)), path=path, part=part, expected=expected)
        self._entries[entry.key] = entry
        return entry

    def change(self, key: str, **changes: object) -> FormFile | None:
        """Change a file. Returns it, or None if it was removed."""
        before = self._entries.get(key)
        if before is None:
            return None
        self._entries[key] = msgspec.structs.replace(before, **changes)
        return self._entries[key]

    def remove(self, keys: list[str]) -> None:
        for key in keys:
            self._entries.pop(key, None)

    def move(self, key: str, by: int) -> bool:
        """Move a file within its role. Returns False at the ends."""
        entry = self._entries[key]
        same = [each.key for each in self.of(entry.part)]
        there = same.index(key) + by
        if not 0 <= there < len(same):
            return False
        same.remove(key)
        same.insert(there, key)
        others = [each for each in self._entries if each not in same]
        self._entries = {each: self._entries[each] for each in [*same, *others]}
        return True

    @property
    def total(self) -> int:
        """Size of all files in bytes."""
        return sum(each.size for each in self._entries.values())

    @property
    def is_empty(self) -> bool:
        return not (self._entries or self.name or self.content_type or self.path_text)

    def empty(self) -> None:
        """Remove what becomes part of a task; kind and configuration are kept for the next one."""
        self._entries.clear()
        self.taken.clear()
        self.name = self.content_type = self.path_text = ""
        self._asked = None

    def snapshot(self) -> SubmittedSnapshot:
        return SubmittedSnapshot(
            keys=tuple(self._entries), name=self.name, content_type=self.content_type, taken=tuple(self.taken)
        )

    def clear_submitted(self, sent: SubmittedSnapshot) -> None:
        """Remove what became part of a task, but not what was added meanwhile."""
        self.remove(list(sent.keys))
        self.taken = [each for each in self.taken if each not in sent.taken]
        self.name = "" if self.name == sent.name else self.name
        self.content_type = "" if self.content_type == sent.content_type else self.content_type
        self._asked = None

    # ---- the task

    @property
    def suggested_name(self) -> str:
        """The name of the task if none is typed, as safe text."""
        return ", ".join(each.name for each in self.of(FileRole.FIRMWARE))[:MAX_NAME_LENGTH]

    def blocked_reason(self) -> str:
        """Return why no task can be created, as safe text; empty if it can."""
        firmware, metadata = self.of(FileRole.FIRMWARE), self.of(FileRole.METADATA)
        if not firmware:
            return "add a firmware file" if self.kind is TaskKind.PACKAGING else "add a file"
        if self.kind is not TaskKind.PACKAGING and (len(firmware) > 1 or metadata):
            return f"{self.kind} requires exactly one file: remove the others"
        if bad := next((each for each in self.entries if each.problem is not None), None):
            return f"fix or remove {bad.name}"
        if waited_for := [each for each in self.entries if each.is_pending]:
            return f"wait for {waited_for[0].name}" + (f" and {len(waited_for) - 1} more" if waited_for[1:] else "")
        if not self.device:
            return "choose a device configuration (d)"
        if len(self.name.strip()) > MAX_NAME_LENGTH:
            return f"the name is longer than {MAX_NAME_LENGTH} characters"
        return ""

    def request(self, message: bytes = b"") -> Request:
        """Build the request. The client token stays the same until the content changes. ``message``: for signing."""
        bare = self._bare_request(message)
        if bare != self._asked:
            self._asked, self._token = bare, uuid.uuid4().hex
        return msgspec.structs.replace(bare, client_token=self._token)

    def _bare_request(self, message: bytes) -> Request:
        name, content_type = self.name.strip(), self.content_type.strip()
        firmware = tuple(each.file for each in self.of(FileRole.FIRMWARE) if each.file is not None)
        if self.kind is TaskKind.ENCRYPTION:
            return EncryptionRequest(config=self.device, file=firmware[0], name=name, content_type=content_type)
        if self.kind is TaskKind.SIGNING:
            return SigningRequest(
                config=self.device,
                message=message,
                file_name=firmware[0].name,
                name=name,
                content_type=content_type,
            )
        metadata = tuple(each.file for each in self.of(FileRole.METADATA) if each.file is not None)
        return PackageRequest(
            config=self.device, firmware=firmware, metadata=metadata, name=name, content_type=content_type
        )
