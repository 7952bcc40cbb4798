"""The model of the upload form: its fields, its files, and the state of their uploads. It performs no I/O."""

from __future__ import annotations

import uuid
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET

from sealyard.client.watch_folder.events import PackageProposal
from sealyard.metadata.formats import looks_like_metadata
from sealyard.model.base import FrozenStruct
from sealyard.model.device_configs import DeviceConfig, EncryptionKey
from sealyard.model.errors import InvalidInputError, SealyardError
from sealyard.model.package_checks import default_package_name
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, Task, TaskKind

MAX_NAME_LENGTH = 200
"""Maximum length of a task name, in characters."""

MAX_JUSTIFICATION_LENGTH = 2000
"""Maximum length of a justification, in characters."""

TaskRequest = PackageRequest | EncryptionRequest | SigningRequest


class FileRole(StrEnum):
    """The role of a file in the package."""

    FIRMWARE = "firmware"
    METADATA = "metadata"


class FileFingerprint(FrozenStruct, frozen=True, kw_only=True):
    """Size in bytes and modification time in nanoseconds, used to detect changes to a file on disk."""

    size: int
    mtime_ns: int


class FormFile(FrozenStruct, frozen=True, kw_only=True):
    """A file in the form, and the state of its upload.

    ``size``: size in bytes, as read from disk until the upload reports it. ``uploaded_bytes``: bytes uploaded so far.
    ``expected_sha256``: in lowercase hex; empty if none is set. ``file``: result of the upload. ``fingerprint``: state
    of the file on disk before the upload. ``file`` and ``fingerprint`` are None until the upload has succeeded.
    ``syntax_warning``: why the content does not match the extension of the file, as safe text; empty if it does.
    """

    key: str
    path: Path
    role: FileRole = FileRole.FIRMWARE
    size: int = 0
    uploaded_bytes: int = 0
    expected_sha256: str = ""
    file: InputFile | None = None
    fingerprint: FileFingerprint | None = None
    error: SealyardError | None = None
    syntax_warning: str = ""

    @property
    def name(self) -> str:
        """Name of the file, as safe text."""
        return escape_text(self.path.name)

    @property
    def problem(self) -> SealyardError | None:
        """The error that prevents the file from being part of a task; None if there is none."""
        if self.error is None and self.file is not None and self.expected_sha256 not in ("", self.file.sha256):
            return InvalidInputError(f"SHA-256 mismatch for {self.name}.", "Check the file or the expected digest.")
        return self.error

    @property
    def warning(self) -> str:
        """A warning about the content of the file in its present role, as safe text; empty if there is none."""
        return self.syntax_warning if self.role is FileRole.METADATA else ""

    @property
    def is_misplaced(self) -> bool:
        """Whether the file is packed as firmware, and its name is one of a metadata file."""
        return self.role is FileRole.FIRMWARE and looks_like_metadata(self.path.name)

    @property
    def is_pending(self) -> bool:
        return self.file is None and self.error is None


class SubmittedSnapshot(FrozenStruct, frozen=True, kw_only=True):
    """The content of a form when it is submitted. ``keys``: the keys of its files."""

    keys: tuple[str, ...]
    name: str
    content_type: str
    justification: str
    earlier_task: Task | None
    proposals: tuple[PackageProposal, ...]


class UploadForm:
    """The upload form of one identity. ``device``: id of the configuration. ``path_text``: text in the path input."""

    def __init__(self) -> None:
        self.kind = TaskKind.PACKAGING
        self.device = ""
        self.encryption_key = ""
        """URI of the encryption key of an encryption task; if empty, the first key of the configuration."""
        self.name = ""
        self.content_type = ""
        self.justification = ""
        self.earlier_task: Task | None = None
        """The rejected, cancelled or failed task that the form submits again."""
        self.path_text = ""
        self.hash_file = True
        """Whether to hash the file instead of using its content as the digest, for algorithms that sign digests."""
        self.proposals: list[PackageProposal] = []
        """Proposals from the watch folder that were loaded into the form."""
        self.is_submitting = False
        self._entries: dict[str, FormFile] = {}
        self._keys = count(1)
        self._last_request: TaskRequest | None = None
        self._client_token = ""

    # ---- files

    @property
    def entries(self) -> list[FormFile]:
        """All files: firmware, then metadata, each in package order."""
        files = list(self._entries.values())
        return [each for role in FileRole for each in files if each.role is role]

    def get_files(self, role: FileRole) -> list[FormFile]:
        return [each for each in self._entries.values() if each.role is role]

    def get_entry(self, key: str) -> FormFile | None:
        return self._entries.get(key)

    def add(self, path: Path, role: FileRole, expected_sha256: str = "") -> FormFile | None:
        """Add a file and return it. Returns None if the form already has a file with this path."""
        if any(each.path == path for each in self._entries.values()):
            return None
        entry = FormFile(key=str(next(self._keys)), path=path, role=role, expected_sha256=expected_sha256)
        self._entries[entry.key] = entry
        return entry

    def add_proposal(self, proposal: PackageProposal, justification: str) -> None:
        """Add a proposal to the form: use its configuration and, unless they have been entered, name and justification.

        The caller adds the files of the proposal. ``justification``: that of the watch folder.
        """
        self.proposals.append(proposal)
        self.device, self.encryption_key = proposal.device, ""
        if not self.name:
            self.name = escape_text(proposal.name)
        if not self.justification:
            self.justification = escape_text(justification)

    def load_task(self, task: Task) -> None:
        """Replace the fields by those of an earlier task, which is submitted again. The caller adds its files."""
        self.earlier_task = task
        self.kind = task.kind
        self.device = task.config_id
        self.encryption_key = task.encryption_key.uri if task.encryption_key is not None else ""
        self.name = escape_text(task.name)
        self.content_type = escape_text(task.content_type)
        self.justification = escape_text(task.justification)

    def change(self, key: str, **changes: object) -> FormFile | None:
        """Change attributes of a file. Returns the changed file, or None if it is no longer in the form."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries[key] = msgspec.structs.replace(entry, **changes)
        return self._entries[key]

    def remove(self, keys: list[str]) -> None:
        for key in keys:
            self._entries.pop(key, None)

    def move(self, key: str, step: int) -> bool:
        """Move a file by ``step`` positions among the files of its role. Returns False if that is not possible."""
        entry = self._entries[key]
        keys = [each.key for each in self.get_files(entry.role)]
        position = keys.index(key) + step
        if not 0 <= position < len(keys):
            return False
        keys.remove(key)
        keys.insert(position, key)
        other_keys = [each for each in self._entries if each not in keys]
        self._entries = {each: self._entries[each] for each in [*keys, *other_keys]}
        return True

    @property
    def total_size(self) -> int:
        """Total size of all files in bytes."""
        return sum(each.size for each in self._entries.values())

    @property
    def is_empty(self) -> bool:
        texts = (self.name, self.content_type, self.justification, self.path_text)
        return not (self._entries or any(texts) or self.earlier_task)

    def clear(self) -> None:
        """Remove all files, proposals and text. Keeps the task type and the configuration for the next task."""
        self._entries.clear()
        self.proposals.clear()
        self.name = self.content_type = self.justification = self.path_text = ""
        self.earlier_task = None
        self._last_request = None

    def take_snapshot(self) -> SubmittedSnapshot:
        return SubmittedSnapshot(
            keys=tuple(self._entries),
            name=self.name,
            content_type=self.content_type,
            justification=self.justification,
            earlier_task=self.earlier_task,
            proposals=tuple(self.proposals),
        )

    def clear_submitted(self, snapshot: SubmittedSnapshot) -> None:
        """Remove the submitted content from the form. Keeps content added or changed since the snapshot was taken."""
        self.remove(list(snapshot.keys))
        self.proposals = [each for each in self.proposals if each not in snapshot.proposals]
        self.name = "" if self.name == snapshot.name else self.name
        self.content_type = "" if self.content_type == snapshot.content_type else self.content_type
        self.justification = "" if self.justification == snapshot.justification else self.justification
        self.earlier_task = None if self.earlier_task is snapshot.earlier_task else self.earlier_task
        self._last_request = None

    # ---- the encryption key

    def offers_encryption_keys(self, device: DeviceConfig) -> bool:
        """Return whether the user can choose the encryption key of the task, or must replace one that is gone."""
        if self.kind is not TaskKind.ENCRYPTION:
            return False
        uris = {key.uri for key in device.encryption_keys}
        return len(uris) > 1 or self.encryption_key not in ("", *uris)

    def get_encryption_key(self, device: DeviceConfig) -> EncryptionKey | None:
        """Return the chosen encryption key; None if there is no choice, or ``device`` does not have the key."""
        if not self.offers_encryption_keys(device):
            return None
        uri = self.encryption_key or device.encryption.uri
        return next((key for key in device.encryption_keys if key.uri == uri), None)

    # ---- the task

    @property
    def suggested_name(self) -> str:
        """Default name of the task, as safe text. Files that cannot be packed are not counted."""
        firmware = [each for each in self.get_files(FileRole.FIRMWARE) if each.problem is None]
        return escape_text(default_package_name([each.path.name for each in firmware]))

    def get_blocked_reason(self) -> str:
        """Return the reason why the form cannot be submitted, as safe text; empty if it can be submitted."""
        firmware, metadata = self.get_files(FileRole.FIRMWARE), self.get_files(FileRole.METADATA)
        if not firmware:
            return "add a firmware file" if self.kind is TaskKind.PACKAGING else "add a file"
        if self.kind is not TaskKind.PACKAGING and (len(firmware) > 1 or metadata):
            return f"{self.kind} requires exactly one file: remove the others"
        if invalid_file := next((each for each in self.entries if each.problem is not None), None):
            return f"fix or remove {invalid_file.name}"
        if pending_files := [each for each in self.entries if each.is_pending]:
            return f"wait for {pending_files[0].name}" + (
                f" and {len(pending_files) - 1} more" if pending_files[1:] else ""
            )
        if not self.device:
            return "choose a device configuration"
        if len(self.name.strip()) > MAX_NAME_LENGTH:
            return f"the name is longer than {MAX_NAME_LENGTH} characters"
        if len(self.justification.strip()) > MAX_JUSTIFICATION_LENGTH:
            return f"the justification is longer than {MAX_JUSTIFICATION_LENGTH} characters"
        return ""

    def build_request(self, message: bytes = b"") -> TaskRequest:
        """Build the request that creates the task. ``message``: the data to sign, for a signing task.

        The client token changes only if the content changes, so that a retry does not create a second task.
        """
        request = self._build_bare_request(message)
        if request != self._last_request:
            self._last_request, self._client_token = request, uuid.uuid4().hex
        return msgspec.structs.replace(request, client_token=self._client_token)

    def _build_bare_request(self, message: bytes) -> TaskRequest:
        firmware = tuple(each.file for each in self.get_files(FileRole.FIRMWARE) if each.file is not None)
        fields = self._build_common_fields()
        if self.kind is TaskKind.ENCRYPTION:
            return EncryptionRequest(file=firmware[0], encryption_key=self.encryption_key or UNSET, **fields)
        if self.kind is TaskKind.SIGNING:
            return SigningRequest(message=message, file_name=firmware[0].name, **fields)
        metadata = tuple(each.file for each in self.get_files(FileRole.METADATA) if each.file is not None)
        return PackageRequest(firmware=firmware, metadata=metadata, **fields)

    def _build_common_fields(self) -> dict[str, Any]:
        """Return the fields that the requests for all kinds of tasks have in common."""
        justification = self.justification.strip()
        return {
            "config": self.device,
            "name": self.name.strip(),
            "content_type": self.content_type.strip(),
            "justification": justification or UNSET,
            "resubmission_of": self.earlier_task.id if self.earlier_task is not None else UNSET,
        }
