"""Dry runs: check requests for tasks without creating the tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sealyard.engine.devices.certificates import add_task_warnings
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.tasks.create import TaskCreation
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import InvalidInputError
from sealyard.model.requests import EncryptionRequest, PackageRequest, RequestCheck, SigningRequest
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import InputFile, Task
from sealyard.storage.artifacts import ArtifactStore

TaskRequest = PackageRequest | EncryptionRequest | SigningRequest


class RequestChecks:
    """Checks requests like :class:`TaskCreation`, whose methods raise the same errors. Stores and audits nothing.

    The files of a request need not be uploaded: the caller has hashed them itself.
    """

    def __init__(
        self, repository: Repository, permissions: Permissions, creation: TaskCreation, artifacts: ArtifactStore
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._creation = creation
        self._artifacts = artifacts

    def check_package(self, subject: str, request: PackageRequest) -> RequestCheck:
        """Check a request for a package. Raises :class:`StorageError` if its files do not fit on the disk."""
        files = (*request.firmware, *request.metadata)
        return self._check(
            subject, request, files, lambda device: self._creation.build_package(subject, device, request)
        )

    def check_encryption(self, subject: str, request: EncryptionRequest) -> RequestCheck:
        """Check a request for an encryption. Raises :class:`StorageError` if its file does not fit on the disk."""
        return self._check(
            subject, request, (request.file,), lambda device: self._creation.build_encryption(subject, device, request)
        )

    def check_signing(self, subject: str, request: SigningRequest) -> RequestCheck:
        return self._check(subject, request, (), lambda device: self._creation.build_signing(subject, device, request))

    def _check(
        self,
        subject: str,
        request: TaskRequest,
        files: Sequence[InputFile],
        build_task: Callable[[DeviceConfig], Task],
    ) -> RequestCheck:
        device = self._creation.require_usable_device(subject, request.config)
        existing_task = self._creation.find_by_client_token(subject, request.client_token, request)
        if existing_task is not None:
            return self._report(subject, existing_task, exists=True)
        _require_content(files)
        self._artifacts.check_free_space(sum(file.size for file in files))
        return self._report(subject, msgspec.structs.replace(build_task(device), id="", approval_digest=""))

    def _report(self, subject: str, task: Task, *, exists: bool = False) -> RequestCheck:
        approvers = self._permissions.current.approvers(task.config_id)
        if not task.self_approved:
            approvers -= {subject}
        return RequestCheck(
            task=add_task_warnings(self._repository, task), exists=exists, eligible_approvers=len(approvers)
        )


def _require_content(files: Sequence[InputFile]) -> None:
    """Raise :class:`InvalidInputError` if a file is empty."""
    for file in files:
        if file.size <= 0:
            raise InvalidInputError(f"{escape_text(file.name, 100)} is empty.", "Choose a file with content.")
