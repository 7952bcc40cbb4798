"""Tests of task creation: client tokens, inputs, limits, and the input of signing tasks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest

from sealyard.containers.se1.format import SE1Format
from sealyard.engine.state.repository import Repository
from sealyard.model.algorithms import KeyPurpose, SigningAlgorithm
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    ConflictError,
    FormatLimitError,
    InvalidInputError,
    InvalidKeyError,
    NotFoundError,
    SealyardError,
    StorageError,
    UsageError,
)
from sealyard.model.requests import DeviceUpdate, EncryptionRequest, PackageRequest
from sealyard.model.tasks import Task, TaskKind, TaskStatus, Verdict
from tests.support.clock import START
from tests.support.engine_harness import ADMIN, CLIENT, DEV, GATEWAY, OWNER, EngineHarness, sha256
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

S = TaskStatus


async def test_package_is_created_then_waiting(harness: EngineHarness) -> None:
    file = await harness.upload()
    request = PackageRequest(config=GATEWAY, firmware=(file,), content_type="firmware")
    response = await harness.execute(DEV, harness.engine.creation.create_package(DEV, request))
    assert response.status is S.CREATED
    task = harness.task(response.id)
    assert task.status is S.WAITING
    assert task.approval_expires_at == START + timedelta(days=7)
    assert (task.config_name, task.config_version, task.created_by) == (GATEWAY, 1, DEV)
    assert (task.name, task.content_type, task.inputs) == ("firmware.bin", "firmware", (file,))
    assert [(each.kind, each.status) for each in task.subtasks] == [
        (TaskKind.ENCRYPTION, S.CREATED),
        (TaskKind.SIGNING, S.WAITING),
    ]


async def test_signing_task_is_waiting(harness: EngineHarness) -> None:
    task = await harness.signing(message=b"sign me")
    assert task.status is S.WAITING
    assert task.inputs[0].sha256 == sha256(b"sign me")
    assert task.subtasks == ()


async def test_encryption_is_scheduled_without_approval(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    file = await harness.upload()
    request = EncryptionRequest(config=GATEWAY, file=file)
    response = await harness.execute(DEV, harness.engine.creation.create_encryption(DEV, request))
    assert response.status is S.CREATED
    task = harness.task(response.id)
    assert (task.status, task.approvals_required) == (S.SCHEDULED, 0)


async def test_policy_determines_required_approval(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    await harness.set_policy(requires_approval=(TaskKind.ENCRYPTION,), approval_timeout=60, execution_timeout=90)
    encryption = await harness.encryption()
    assert (encryption.status, encryption.approvals_required) == (S.WAITING, 1)
    assert encryption.approval_expires_at == START + timedelta(seconds=60)
    package = await harness.package()
    assert (package.status, package.execution_expires_at) == (S.SCHEDULED, START + timedelta(seconds=90))
    assert (await harness.signing()).status is S.SCHEDULED


async def test_task_keeps_configuration_version(harness: EngineHarness) -> None:
    task = await harness.package()
    await harness.execute(
        ADMIN, harness.engine.devices.update(ADMIN, DeviceUpdate(config=GATEWAY, approvals_required=2))
    )
    assert harness.task(task.id).config_version == 1
    assert (await harness.approve(task)).status is S.SCHEDULED
    assert (await harness.package()).config_version == 2


async def test_creation_audit_entry_contains_inputs(harness: EngineHarness) -> None:
    task = await harness.package()
    entry = (await harness.audit_entries(AuditAction.CREATED, f"TASK:{task.id}"))[0]
    assert entry.author == DEV
    assert entry.new_value is not None
    assert entry.new_value["approvalDigest"] == task.approval_digest
    assert entry.new_value["inputs"] == [[each.name, each.size, each.sha256] for each in task.inputs]


# ---- client tokens


async def test_same_client_token_returns_same_task(harness: EngineHarness) -> None:
    file = await harness.upload()
    first = await harness.package(firmware=(file,), client_token="one")
    await harness.approve(first)
    second = await harness.package(firmware=(file,), client_token="one")
    assert second.id == first.id
    assert second.status is not S.CREATED


async def test_concurrent_client_token_creates_one_task(harness: EngineHarness) -> None:
    file = await harness.upload()
    packages = await asyncio.gather(*(harness.package(firmware=(file,), client_token="one") for _ in range(50)))
    assert len({each.id for each in packages}) == 1
    assert len(await harness.audit_entries(AuditAction.CREATED, f"TASK:{packages[0].id}")) == 1
    signings = await asyncio.gather(*(harness.signing(message=b"x" * 5000, client_token="two") for _ in range(50)))
    assert len({each.id for each in signings}) == 1
    assert harness.artifacts.input_path(sha256(b"x" * 5000)).is_file()


async def test_client_token_with_other_request_conflicts(harness: EngineHarness) -> None:
    file = await harness.upload()
    await harness.package(firmware=(file,), client_token="one")
    with pytest.raises(ConflictError, match="a different request"):
        await harness.package(firmware=(file,), client_token="one", name="other")
    with pytest.raises(ConflictError):
        await harness.encryption(file=file, client_token="one")


async def test_client_token_is_scoped_to_subject(harness: EngineHarness) -> None:
    file = await harness.upload()
    dev_task = await harness.package(DEV, firmware=(file,), client_token="one")
    client_task = await harness.package(CLIENT, firmware=(file,), client_token="one")
    assert dev_task.id != client_task.id


async def test_client_token_works_after_input_removal(harness: EngineHarness) -> None:
    file = await harness.upload()
    first = await harness.package(firmware=(file,), client_token="one")
    await harness.decide(first, OWNER, Verdict.REJECTED, "no")
    assert (await harness.package(firmware=(file,), client_token="one")).id == first.id


# ---- inputs


async def test_unknown_configuration_raises_not_found(harness: EngineHarness) -> None:
    for config in ("nothing", "", "\x1b"):
        with pytest.raises(NotFoundError):
            await harness.package(config=config)


async def test_discarded_input_is_rejected(harness: EngineHarness) -> None:
    file = await harness.upload()
    harness.engine.inputs.discard((file,))
    for call in (harness.package(firmware=(file,)), harness.encryption(file=file)):
        with pytest.raises(InvalidInputError, match="no longer stored"):
            await call


async def test_input_size_or_hash_mismatch_is_rejected(harness: EngineHarness) -> None:
    file = await harness.upload()
    for invalid_file in (msgspec.structs.replace(file, size=1), msgspec.structs.replace(file, sha256="00" * 32)):
        with pytest.raises(InvalidInputError):
            await harness.package(firmware=(invalid_file,))
    with pytest.raises(UsageError):
        await harness.package(firmware=(msgspec.structs.replace(file, sha256="../../etc"),))


async def test_inline_content_with_digest_is_rejected(harness: EngineHarness) -> None:
    """An approver reviews the file of the digest, so a worker must not receive any other content."""
    file = msgspec.structs.replace(await harness.upload(), inline="ZXZpbA==")
    calls: tuple[Callable[[], Awaitable[Task]], ...] = (
        lambda: harness.package(firmware=(file,)),
        lambda: harness.package(metadata=(file,)),
        lambda: harness.encryption(file=file),
    )
    for call in calls:
        with pytest.raises(InvalidInputError):
            await call()


async def test_input_is_removed_with_last_task(harness: EngineHarness) -> None:
    file = await harness.upload()
    first = await harness.package(firmware=(file,))
    second = await harness.package(firmware=(file,), metadata=(file,))
    path = harness.artifacts.input_path(file.sha256)
    await harness.decide(first, OWNER, Verdict.REJECTED, "no")
    assert path.is_file()
    await harness.decide(second, OWNER, Verdict.REJECTED, "no")
    assert not path.exists()


async def test_unclaimed_input_expires_after_a_day(empty_harness: EngineHarness) -> None:
    file = await empty_harness.upload()
    path = empty_harness.artifacts.input_path(file.sha256)
    await empty_harness.wait_until(lambda: empty_harness.clock.has_sleeper(3600))
    await empty_harness.advance_clock(hours=23, minutes=59)
    await empty_harness.wait_until(lambda: empty_harness.clock.has_sleeper(3600))
    assert path.is_file()
    await empty_harness.advance_clock(hours=1)
    await empty_harness.wait_until(lambda: not path.exists())


async def test_cancelled_creation_still_stores_task(harness: EngineHarness, disk: FailingDisk) -> None:
    """The commit completes although the caller was cancelled: the input stays, and the task becomes WAITING."""
    file = await harness.upload()
    disk.block()
    request = asyncio.create_task(harness.package(firmware=(file,), client_token="one"))
    await harness.wait_until(lambda: harness.engine.store.count("tasks") == 1)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    disk.unblock()
    await harness.wait_until_durable()
    task = await harness.package(firmware=(file,), client_token="one")
    assert harness.artifacts.input_path(file.sha256).is_file()
    assert await harness.wait_for_status(task, S.WAITING)


async def test_failed_commit_fails_all_concurrent_requests(
    harness: EngineHarness, disk: FailingDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests with the same token wait for the first commit, so that none returns a task that was not stored."""
    file = await harness.upload()
    flushes = 0
    flush = Repository.flush

    async def count_and_flush(repository: Repository) -> None:
        nonlocal flushes
        flushes += 1
        await flush(repository)

    monkeypatch.setattr(Repository, "flush", count_and_flush)
    disk.block()
    disk.fail()
    requests = [asyncio.create_task(harness.package(firmware=(file,), client_token="one")) for _ in range(3)]
    await harness.wait_until(lambda: harness.engine.store.count("tasks") == 1 and flushes == 2)
    disk.unblock()
    for each in await asyncio.gather(*requests, return_exceptions=True):
        assert isinstance(each, StorageError)
    assert harness.engine.store.count("tasks") == 0
    assert (await harness.package(firmware=(file,), client_token="one")).status is S.WAITING


# ---- limits


async def test_package_without_firmware_is_rejected(harness: EngineHarness) -> None:
    with pytest.raises(InvalidInputError, match="at least one firmware file"):
        await harness.package(firmware=())


async def test_package_format_limits_are_enforced(harness: EngineHarness) -> None:
    file = await harness.upload()
    with pytest.raises(FormatLimitError):
        await harness.package(firmware=(file,) * 256)
    large_file = await harness.upload(b"m" * 70_000)
    with pytest.raises(FormatLimitError):
        await harness.package(metadata=(large_file,))
    assert len((await harness.package(firmware=(file,) * 255)).subtasks) == 256


async def test_name_length_is_limited(harness: EngineHarness) -> None:
    assert (await harness.package(name="x" * 200)).name == "x" * 200
    for call in (harness.package(name="x" * 201), harness.encryption(name="x" * 201), harness.signing(name="x" * 201)):
        with pytest.raises(UsageError, match="200 characters"):
            await call


@pytest.mark.parametrize("kind", ["package", "encryption", "signing"])
async def test_content_type_length_is_limited(harness: EngineHarness, kind: str) -> None:
    await getattr(harness, kind)(content_type="x" * 1000)
    with pytest.raises(UsageError, match="1000 characters"):
        await getattr(harness, kind)(content_type="x" * 1001)


async def test_file_name_length_is_limited(harness: EngineHarness) -> None:
    valid_file, invalid_file = [await harness.upload(name="x" * length) for length in (255, 256)]
    await harness.package(firmware=(valid_file,), metadata=(valid_file,))
    await harness.signing(file_name="x" * 255, name="short")
    for call in (
        harness.package(firmware=(valid_file, invalid_file)),
        harness.package(firmware=(valid_file,), metadata=(invalid_file,)),
        harness.encryption(file=invalid_file, name="short"),
        harness.signing(file_name="x" * 256, name="short"),
    ):
        with pytest.raises(InvalidInputError, match="255 characters"):
            await call


async def test_rejected_message_is_not_stored(harness: EngineHarness) -> None:
    message = b"x" * 5000
    with pytest.raises(InvalidInputError):
        await harness.signing(message=message, file_name="x" * 256)
    with pytest.raises(NotFoundError):
        harness.artifacts.input_path(sha256(message))


@pytest.mark.parametrize(
    ("file_names", "expected"),
    [
        (["app.bin"], "app.bin"),
        (["app-1.4.bin", "boot.bin"], "app-1.4 and 1 more"),
        (["n" * 250, *"abcdefghi"], f"{'n' * 94}…{'n' * 94} and 9 more"),
        (["n" * 250 + ".bin"], f"{'n' * 100}…{'n' * 95}.bin"),
        ([".bin", "a"], ".bin and 1 more"),
    ],
)
async def test_default_name_is_first_file(harness: EngineHarness, file_names: list[str], expected: str) -> None:
    files = tuple([await harness.upload(name.encode(), name) for name in file_names])
    assert (await harness.package(firmware=files)).name == expected


@pytest.mark.parametrize("field", ["name", "content_type", "client_token"])
async def test_invalid_unicode_leaves_no_audit_gap(harness: EngineHarness, field: str) -> None:
    calls: tuple[Callable[..., Awaitable[Task]], ...] = (harness.package, harness.encryption, harness.signing)
    for call in calls:
        with pytest.raises(SealyardError):
            await call(**{field: "\udcff"})
    task = await harness.package()
    await harness.reopen()
    assert harness.task(task.id).status is S.WAITING
    report = await harness.engine.audit.verify(ADMIN, None, None)
    assert report.uncheckpointed_count == 0


async def test_file_name_with_invalid_unicode_is_escaped(harness: EngineHarness) -> None:
    file = await harness.upload(name="a\udcff.bin")
    assert file.name == "a\\udcff.bin"
    with pytest.raises(SealyardError):
        await harness.package(firmware=(msgspec.structs.replace(file, name="\udcff"),))


# ---- input of signing tasks

DIGEST = hashlib.sha256(b"message").digest()
PSS = SigningAlgorithm.SHA256_RSA_3072_PSS


async def create_rsa_device(harness: EngineHarness, purpose: KeyPurpose) -> None:
    await harness.create_device("rsa", signing=PSS, purpose=purpose)


async def test_digest_with_data_key_is_accepted(harness: EngineHarness) -> None:
    await create_rsa_device(harness, KeyPurpose.DATA)
    task = await harness.signing(config="rsa", message=DIGEST, is_digest=True)
    assert task.status is S.WAITING
    assert any("cannot see what will be signed" in each for each in task.warnings)


@pytest.mark.parametrize("purpose", [KeyPurpose.BOTH, KeyPurpose.PACKAGE])
async def test_digest_with_package_key_is_rejected(harness: EngineHarness, purpose: KeyPurpose) -> None:
    await create_rsa_device(harness, purpose)
    for is_digest in (True, False):
        with pytest.raises(InvalidKeyError):
            await harness.signing(config="rsa", message=DIGEST, is_digest=is_digest)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
async def test_digest_of_wrong_length_is_rejected(harness: EngineHarness, length: int) -> None:
    await create_rsa_device(harness, KeyPurpose.DATA)
    with pytest.raises(InvalidInputError):
        await harness.signing(config="rsa", message=bytes(length), is_digest=True)


async def test_digest_with_message_algorithm_is_rejected(harness: EngineHarness) -> None:
    with pytest.raises(UsageError, match="not a digest"):
        await harness.signing(message=DIGEST, is_digest=True)


async def test_signing_with_package_key_is_rejected(harness: EngineHarness) -> None:
    await harness.create_device("packages", purpose=KeyPurpose.PACKAGE)
    with pytest.raises(InvalidKeyError, match="is for packages"):
        await harness.signing(config="packages")
    await harness.package(config="packages")


async def test_message_size_is_limited(harness: EngineHarness) -> None:
    task = await harness.signing(message=b"x" * 1024 * 1024)
    assert task.inputs[0].inline is None
    assert task.inputs[0].size == 1024 * 1024
    for message in (b"", b"x" * (1024 * 1024 + 1)):
        with pytest.raises(InvalidInputError):
            await harness.signing(message=message)


async def test_message_starting_like_container_is_rejected(harness: EngineHarness) -> None:
    for message in (SE1Format.magic, SE1Format.magic + b"and more"):
        with pytest.raises(InvalidKeyError, match="starts like"):
            await harness.signing(message=message)
    await harness.signing(message=b" " + SE1Format.magic)


async def test_small_message_is_stored_inline(harness: EngineHarness) -> None:
    assert (await harness.signing(message=b"x" * 4096)).inputs[0].inline is not None
    assert (await harness.signing(message=b"x" * 4097)).inputs[0].inline is None
