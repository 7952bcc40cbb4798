"""Test dry runs with both clients: in this process and over HTTP."""

from __future__ import annotations

import hashlib

import pytest

from sealyard.client.hashing_reader import hash_file
from sealyard.model.errors import (
    ConflictError,
    FormatLimitError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest, TaskFilter
from sealyard.model.tasks import InputFile, TaskKind
from tests.support.client_kinds import CONTENT, GATEWAY, ClientHarness, ContractSubjects


def test_check_describes_task_and_creates_none(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        file = await hash_file(subjects.create_file())
        assert file == InputFile(name="firmware.bin", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
        metadata = await hash_file(subjects.create_file("meta.json", b"{}"))
        audit_size = (await admin.workspace()).audit_size
        package = await dev.check_package(
            PackageRequest(
                config=GATEWAY, firmware=(file,), metadata=(metadata,), name="release 1", content_type="bios"
            )
        )
        assert (package.task.kind, package.task.id, package.task.name) == (TaskKind.PACKAGING, "", "release 1")
        assert (package.task.inputs, package.task.metadata, package.task.content_type) == ((file,), (metadata,), "bios")
        assert (package.task.approvals_required, package.eligible_approvers, package.exists) == (1, 2, False)
        encryption = await dev.check_encryption(EncryptionRequest(config=GATEWAY, file=file))
        assert (encryption.task.kind, encryption.task.approvals_required) == (TaskKind.ENCRYPTION, 0)
        signing = await dev.check_signing(SigningRequest(config=GATEWAY, message=b"sign me", file_name="m.txt"))
        assert (signing.task.kind, signing.task.name) == (TaskKind.SIGNING, "m.txt")
        assert (await dev.tasks(TaskFilter())).tasks == ()
        assert (await admin.workspace()).audit_size == audit_size

    harness.run(test)


def test_check_raises_error_of_real_request(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        file = InputFile(name="f.bin", size=8, sha256="0" * 64)
        request = PackageRequest(config=GATEWAY, firmware=(file,))
        with pytest.raises(PermissionDeniedError):
            await owner.check_package(request)
        with pytest.raises(NotFoundError):
            await dev.check_package(PackageRequest(config="unknown", firmware=(file,)))
        with pytest.raises(InvalidInputError):
            await dev.check_package(PackageRequest(config=GATEWAY, firmware=()))
        with pytest.raises(FormatLimitError):
            await dev.check_package(PackageRequest(config=GATEWAY, firmware=(file,) * 256))
        empty_file = InputFile(name="f.bin", size=0, sha256="0" * 64)
        with pytest.raises(InvalidInputError, match="empty"):
            await dev.check_encryption(EncryptionRequest(config=GATEWAY, file=empty_file))
        with pytest.raises(UsageError):
            await dev.check_encryption(EncryptionRequest(config=GATEWAY, file=file, encryption_key="unknown"))
        with pytest.raises(UsageError):
            await dev.check_signing(SigningRequest(config=GATEWAY, message=bytes(32), is_digest=True))

    shared_harness.run(test)


def test_used_client_token_is_recognized(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, _ = await subjects.all_clients()
        task = await subjects.package(client_token="one")
        check = await dev.check_package(PackageRequest(config=GATEWAY, firmware=task.inputs, client_token="one"))
        assert (check.exists, check.task.id) == (True, task.id)
        other_request = PackageRequest(config=GATEWAY, firmware=task.inputs, client_token="one", name="other")
        with pytest.raises(ConflictError):
            await dev.check_package(other_request)

    shared_harness.run(test)
