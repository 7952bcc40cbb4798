"""Tests of dry runs: the same checks as for a task that is created, without storing anything."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sealyard.model.access import Action
from sealyard.model.algorithms import KeyPurpose
from sealyard.model.errors import (
    ConflictError,
    FormatLimitError,
    InvalidInputError,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    SealyardError,
    StorageError,
    UsageError,
)
from sealyard.model.requests import EncryptionRequest, PackageRequest, RequestCheck, SigningRequest
from sealyard.model.tasks import InputFile
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, OWNER, SECOND, EngineHarness, sha256

pytestmark = pytest.mark.anyio

FILE = InputFile(name="firmware.bin", size=8, sha256=sha256(b"firmware"))
PACKAGE = PackageRequest(config=GATEWAY, firmware=(FILE,))


def check_package(harness: EngineHarness, subject: str = DEV, **changes: Any) -> RequestCheck:
    return harness.engine.request_checks.check_package(subject, msgspec.structs.replace(PACKAGE, **changes))


async def test_check_describes_package_that_is_created(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    file = await harness.upload()
    request = PackageRequest(config=GATEWAY, firmware=(file,), metadata=(file,), content_type="firmware")
    check = harness.engine.request_checks.check_package(DEV, request)
    task = await harness.execute(DEV, harness.engine.creation.create_package(DEV, request))
    assert not check.exists
    assert check.task == msgspec.structs.replace(task, id="", approval_digest="", subtasks=())


async def test_check_stores_nothing(harness: EngineHarness) -> None:
    log_size = harness.engine.audit.sizes()
    check_package(harness, client_token="one")
    request_checks = harness.engine.request_checks
    request_checks.check_encryption(DEV, EncryptionRequest(config=GATEWAY, file=FILE, client_token="one"))
    message = b"x" * 5000
    request_checks.check_signing(DEV, SigningRequest(config=GATEWAY, message=message, client_token="one"))
    assert harness.engine.store.count("tasks") == harness.engine.store.count("tokens") == 0
    assert harness.engine.audit.sizes() == log_size
    for digest in (FILE.sha256, sha256(message)):
        with pytest.raises(NotFoundError):
            harness.artifacts.input_path(digest)
    assert (await harness.package(client_token="one")).name == "firmware.bin"


async def test_rejected_requests_fail_check(harness: EngineHarness) -> None:
    empty_file = msgspec.structs.replace(FILE, size=0)
    long_name = msgspec.structs.replace(FILE, name="x" * 256)
    rejected: tuple[tuple[dict[str, Any], type[SealyardError]], ...] = (
        ({"config": "unknown"}, NotFoundError),
        ({"firmware": ()}, InvalidInputError),
        ({"firmware": (empty_file,)}, InvalidInputError),
        ({"firmware": (long_name,)}, InvalidInputError),
        ({"firmware": (FILE,) * 256}, FormatLimitError),
        ({"metadata": (msgspec.structs.replace(FILE, size=70_000),)}, FormatLimitError),
        ({"name": "x" * 201}, UsageError),
        ({"content_type": "x" * 1001}, UsageError),
        ({"name": "\udcff"}, SealyardError),
        ({"firmware": (msgspec.structs.replace(FILE, size=1 << 60),)}, StorageError),
    )
    for changes, error in rejected:
        with pytest.raises(error):
            check_package(harness, **changes)


async def test_permissions_are_checked(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError):
        check_package(harness, OWNER)
    await harness.add_subject("USER:stranger")
    with pytest.raises(NotFoundError):
        check_package(harness, "USER:stranger")


async def test_key_purpose_and_name_are_checked(harness: EngineHarness) -> None:
    await harness.create_device("data", purpose=KeyPurpose.DATA)
    with pytest.raises(InvalidKeyError):
        check_package(harness, config="data")
    request = EncryptionRequest(config=GATEWAY, file=FILE, encryption_key="unknown")
    with pytest.raises(UsageError):
        harness.engine.request_checks.check_encryption(DEV, request)
    digest = SigningRequest(config=GATEWAY, message=bytes(32), is_digest=True)
    with pytest.raises(UsageError):
        harness.engine.request_checks.check_signing(DEV, digest)


async def test_client_token_returns_existing_task(harness: EngineHarness) -> None:
    task = await harness.package(client_token="one")
    check = check_package(harness, firmware=task.inputs, client_token="one")
    assert check.exists
    assert check.task.id == task.id
    with pytest.raises(ConflictError):
        check_package(harness, firmware=task.inputs, client_token="one", name="other")


async def test_eligible_approvers_exclude_requester(harness: EngineHarness) -> None:
    approvers = harness.engine.permissions.current.approvers(harness.engine.repository.device(GATEWAY).id)
    assert check_package(harness).eligible_approvers == len(approvers) >= 2
    resource = f"DEVICE_CONFIG:{GATEWAY}"
    await harness.execute(ADMIN, harness.engine.access.add_rule(ADMIN, DEV, resource, Action.APPROVE, confirmed=True))
    assert check_package(harness).eligible_approvers == len(approvers)


async def test_unreachable_quorum_is_reported(harness: EngineHarness) -> None:
    assert check_package(harness).can_reach_quorum
    await harness.remove_rule(OWNER, Action.APPROVE)
    await harness.remove_rule(SECOND, Action.APPROVE)
    check = check_package(harness)
    assert check.eligible_approvers == 0
    assert not check.can_reach_quorum
