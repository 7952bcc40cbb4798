"""Asking for tasks: what is answered, what is refused, and that a client token makes one task."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest

from sealyard.containers.se1.format import SE1Format
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
from sealyard.model.requests import DeviceUpdate, EncryptionRequest, PackageRequest, TaskFilter
from sealyard.model.tasks import Task, TaskKind, TaskStatus, Verdict
from tests.support.clock import START
from tests.support.engine_harness import ADMIN, CLIENT, DEV, GATEWAY, OWNER, SECOND, EngineHarness, sha256
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

S = TaskStatus


async def test_packaging_answers_created_and_then_waits(harness: EngineHarness) -> None:
    file = await harness.upload()
    request = PackageRequest(config=GATEWAY, firmware=(file,), content_type="firmware")
    answered = await harness.execute(DEV, harness.engine.creation.create_package(DEV, request))
    assert answered.status is S.CREATED
    task = harness.task(answered.id)
    assert task.status is S.WAITING
    assert task.approval_expires_at == START + timedelta(days=7)
    assert (task.config_name, task.config_version, task.created_by) == (GATEWAY, 1, DEV)
    assert (task.name, task.content_type, task.inputs) == ("firmware.bin", "firmware", (file,))
    assert [(each.kind, each.status) for each in task.subtasks] == [
        (TaskKind.ENCRYPTION, S.CREATED),
        (TaskKind.SIGNING, S.WAITING),
    ]


async def test_signing_answers_waiting(harness: EngineHarness) -> None:
    task = await harness.signing(message=b"sign me")
    assert task.status is S.WAITING
    assert task.inputs[0].sha256 == sha256(b"sign me")
    assert task.subtasks == ()


async def test_encryption_answers_created_and_is_scheduled_without_approval(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    file = await harness.upload()
    request = EncryptionRequest(config=GATEWAY, file=file)
    answered = await harness.execute(DEV, harness.engine.creation.create_encryption(DEV, request))
    assert answered.status is S.CREATED
    task = harness.task(answered.id)
    assert (task.status, task.approvals_required) == (S.SCHEDULED, 0)


async def test_the_policy_says_what_needs_approval(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    await harness.set_policy(requires_approval=(TaskKind.ENCRYPTION,), approval_timeout=60, execution_timeout=90)
    encryption = await harness.encryption()
    assert (encryption.status, encryption.approvals_required) == (S.WAITING, 1)
    assert encryption.approval_expires_at == START + timedelta(seconds=60)
    package = await harness.package()
    assert (package.status, package.execution_expires_at) == (S.SCHEDULED, START + timedelta(seconds=90))
    assert (await harness.signing()).status is S.SCHEDULED


async def test_a_task_keeps_the_version_it_was_asked_under(harness: EngineHarness) -> None:
    task = await harness.package()
    await harness.execute(
        ADMIN, harness.engine.devices.update(ADMIN, DeviceUpdate(config=GATEWAY, approvals_required=2))
    )
    assert harness.task(task.id).config_version == 1
    assert (await harness.approve(task)).status is S.SCHEDULED
    assert (await harness.package()).config_version == 2


async def test_creation_is_audited_with_what_was_handed_in(harness: EngineHarness) -> None:
    task = await harness.package()
    entry = (await harness.audit_entries(AuditAction.CREATED, f"TASK:{task.id}"))[0]
    assert entry.author == DEV
    assert entry.new_value is not None
    assert entry.new_value["approvalDigest"] == task.approval_digest
    assert entry.new_value["inputs"] == [[each.name, each.size, each.sha256] for each in task.inputs]


# ---- client tokens


async def test_the_same_token_gives_the_same_task(harness: EngineHarness) -> None:
    file = await harness.upload()
    first = await harness.package(firmware=(file,), client_token="one")
    await harness.approve(first)
    again = await harness.package(firmware=(file,), client_token="one")
    assert again.id == first.id
    assert again.status is not S.CREATED


async def test_a_token_used_fifty_times_at_once_makes_one_task(harness: EngineHarness) -> None:
    file = await harness.upload()
    made = await asyncio.gather(*(harness.package(firmware=(file,), client_token="one") for _ in range(50)))
    assert len({each.id for each in made}) == 1
    assert len(await harness.audit_entries(AuditAction.CREATED, f"TASK:{made[0].id}")) == 1
    signed = await asyncio.gather(*(harness.signing(message=b"x" * 5000, client_token="two") for _ in range(50)))
    assert len({each.id for each in signed}) == 1
    assert harness.artifacts.input_path(sha256(b"x" * 5000)).is_file()


async def test_a_token_is_good_for_one_request(harness: EngineHarness) -> None:
    file = await harness.upload()
    await harness.package(firmware=(file,), client_token="one")
    with pytest.raises(ConflictError, match="a different request"):
        await harness.package(firmware=(file,), client_token="one", name="other")
    with pytest.raises(ConflictError):
        await harness.encryption(file=file, client_token="one")


async def test_a_token_belongs_to_who_used_it(harness: EngineHarness) -> None:
    file = await harness.upload()
    mine = await harness.package(DEV, firmware=(file,), client_token="one")
    theirs = await harness.package(CLIENT, firmware=(file,), client_token="one")
    assert mine.id != theirs.id


async def test_a_token_is_good_after_the_inputs_are_gone(harness: EngineHarness) -> None:
    file = await harness.upload()
    first = await harness.package(firmware=(file,), client_token="one")
    await harness.decide(first, OWNER, Verdict.REJECTED, "no")
    assert (await harness.package(firmware=(file,), client_token="one")).id == first.id


# ---- inputs


async def test_an_unknown_configuration_is_refused(harness: EngineHarness) -> None:
    for config in ("nothing", "", "\x1b"):
        with pytest.raises(NotFoundError):
            await harness.package(config=config)


async def test_what_is_not_stored_any_more_is_refused(harness: EngineHarness) -> None:
    file = await harness.upload()
    harness.engine.inputs.discard((file,))
    for act in (harness.package(firmware=(file,)), harness.encryption(file=file)):
        with pytest.raises(InvalidInputError, match="no longer stored"):
            await act


async def test_what_is_stored_under_another_size_is_refused(harness: EngineHarness) -> None:
    file = await harness.upload()
    for odd in (msgspec.structs.replace(file, size=1), msgspec.structs.replace(file, sha256="00" * 32)):
        with pytest.raises(InvalidInputError):
            await harness.package(firmware=(odd,))
    with pytest.raises(UsageError):
        await harness.package(firmware=(msgspec.structs.replace(file, sha256="../../etc"),))


async def test_bytes_beside_the_digest_are_refused(harness: EngineHarness) -> None:
    """The approver sees what the digest names; a worker must not be handed anything else."""
    file = msgspec.structs.replace(await harness.upload(), inline="ZXZpbA==")
    acts: tuple[Callable[[], Awaitable[Task]], ...] = (
        lambda: harness.package(firmware=(file,)),
        lambda: harness.package(metadata=(file,)),
        lambda: harness.encryption(file=file),
    )
    for act in acts:
        with pytest.raises(InvalidInputError):
            await act()


async def test_an_input_stays_while_a_task_needs_it_and_goes_with_the_last(harness: EngineHarness) -> None:
    file = await harness.upload()
    first = await harness.package(firmware=(file,))
    second = await harness.package(firmware=(file,), metadata=(file,))
    path = harness.artifacts.input_path(file.sha256)
    await harness.decide(first, OWNER, Verdict.REJECTED, "no")
    assert path.is_file()
    await harness.decide(second, OWNER, Verdict.REJECTED, "no")
    assert not path.exists()


async def test_an_upload_that_no_task_claims_goes_after_a_day(empty_harness: EngineHarness) -> None:
    file = await empty_harness.upload()
    path = empty_harness.artifacts.input_path(file.sha256)
    await empty_harness.wait_until(lambda: empty_harness.clock.has_sleeper(3600))
    await empty_harness.advance_clock(hours=23, minutes=59)
    await empty_harness.wait_until(lambda: empty_harness.clock.has_sleeper(3600))
    assert path.is_file()
    await empty_harness.advance_clock(hours=1)
    await empty_harness.wait_until(lambda: not path.exists())


async def test_a_caller_that_goes_away_leaves_a_whole_task(harness: EngineHarness, disk: FailingDisk) -> None:
    """The commit is made anyhow: inputs stay, and the task moves on as if somebody had waited."""
    file = await harness.upload()
    disk.block()
    asking = asyncio.create_task(harness.package(firmware=(file,), client_token="one"))
    await harness.wait_until(lambda: harness.engine.store.count("tasks") == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    disk.unblock()
    await harness.wait_until_durable()
    task = await harness.package(firmware=(file,), client_token="one")
    assert harness.artifacts.input_path(file.sha256).is_file()
    assert await harness.wait_for_status(task, S.WAITING)


async def test_a_token_is_answered_when_its_task_is_durable(harness: EngineHarness, disk: FailingDisk) -> None:
    """Whoever asks while the first commit is on its way must not be told of a task that never comes to be."""
    file = await harness.upload()
    disk.block()
    disk.fail()
    asking = [asyncio.create_task(harness.package(firmware=(file,), client_token="one")) for _ in range(3)]
    await harness.wait_until(lambda: harness.engine.store.count("tasks") == 1)
    await asyncio.sleep(0)
    disk.unblock()
    for each in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(each, StorageError)
    assert harness.engine.store.count("tasks") == 0
    assert (await harness.package(firmware=(file,), client_token="one")).status is S.WAITING


# ---- limits


async def test_a_package_needs_firmware(harness: EngineHarness) -> None:
    with pytest.raises(InvalidInputError, match="at least one firmware file"):
        await harness.package(firmware=())


async def test_the_formats_limits_are_told_at_once(harness: EngineHarness) -> None:
    file = await harness.upload()
    with pytest.raises(FormatLimitError):
        await harness.package(firmware=(file,) * 256)
    much = await harness.upload(b"m" * 70_000)
    with pytest.raises(FormatLimitError):
        await harness.package(metadata=(much,))
    assert len((await harness.package(firmware=(file,) * 255)).subtasks) == 256


async def test_a_name_has_a_length(harness: EngineHarness) -> None:
    assert (await harness.package(name="x" * 200)).name == "x" * 200
    for act in (harness.package(name="x" * 201), harness.encryption(name="x" * 201), harness.signing(name="x" * 201)):
        with pytest.raises(UsageError, match="200 characters"):
            await act


@pytest.mark.parametrize("ask", ["package", "encryption", "signing"])
async def test_a_content_type_has_a_length(harness: EngineHarness, ask: str) -> None:
    await getattr(harness, ask)(content_type="x" * 1000)
    with pytest.raises(UsageError, match="1000 characters"):
        await getattr(harness, ask)(content_type="x" * 1001)


async def test_the_names_of_files_have_a_length(harness: EngineHarness) -> None:
    good, bad = [await harness.upload(name="x" * length) for length in (255, 256)]
    await harness.package(firmware=(good,), metadata=(good,))
    await harness.signing(file_name="x" * 255, name="short")
    for asked in (
        harness.package(firmware=(good, bad)),
        harness.package(firmware=(good,), metadata=(bad,)),
        harness.encryption(file=bad, name="short"),
        harness.signing(file_name="x" * 256, name="short"),
    ):
        with pytest.raises(InvalidInputError, match="255 characters"):
            await asked


async def test_a_message_whose_file_name_is_too_long_is_not_stored(harness: EngineHarness) -> None:
    message = b"x" * 5000
    with pytest.raises(InvalidInputError):
        await harness.signing(message=message, file_name="x" * 256)
    with pytest.raises(NotFoundError):
        harness.artifacts.input_path(sha256(message))


async def test_a_name_made_of_many_file_names_is_cut(harness: EngineHarness) -> None:
    files = tuple([await harness.upload(bytes([number]), "n" * 50 + str(number)) for number in range(9)])
    task = await harness.package(firmware=files)
    assert len(task.name) == 200
    assert task.name.endswith("…")


@pytest.mark.parametrize("field", ["name", "content_type", "client_token"])
async def test_text_that_is_no_unicode_is_refused_and_leaves_no_gap(harness: EngineHarness, field: str) -> None:
    acts: tuple[Callable[..., Awaitable[Task]], ...] = (harness.package, harness.encryption, harness.signing)
    for act in acts:
        with pytest.raises(SealyardError):
            await act(**{field: "\udcff"})
    task = await harness.package()
    await harness.reopen()
    assert harness.task(task.id).status is S.WAITING
    report = await harness.engine.audit.verify(ADMIN, None, None)
    assert report.uncheckpointed_count == 0


async def test_a_file_name_that_is_no_unicode_is_escaped(harness: EngineHarness) -> None:
    file = await harness.upload(name="a\udcff.bin")
    assert file.name == "a\\udcff.bin"
    with pytest.raises(SealyardError):
        await harness.package(firmware=(msgspec.structs.replace(file, name="\udcff"),))


# ---- what a signing task takes

DIGEST = hashlib.sha256(b"message").digest()
PSS = SigningAlgorithm.SHA256_RSA_3072_PSS


async def rsa_device(harness: EngineHarness, purpose: KeyPurpose) -> None:
    await harness.create_device("rsa", signing=PSS, purpose=purpose)


async def test_a_bare_digest_is_signed_with_a_data_key_only(harness: EngineHarness) -> None:
    await rsa_device(harness, KeyPurpose.DATA)
    task = await harness.signing(config="rsa", message=DIGEST, is_digest=True)
    assert task.status is S.WAITING
    assert any("cannot see what will be signed" in each for each in task.warnings)


@pytest.mark.parametrize("purpose", [KeyPurpose.BOTH, KeyPurpose.PACKAGE])
async def test_a_key_that_signs_packages_signs_no_bare_digest(harness: EngineHarness, purpose: KeyPurpose) -> None:
    await rsa_device(harness, purpose)
    for is_digest in (True, False):
        with pytest.raises(InvalidKeyError):
            await harness.signing(config="rsa", message=DIGEST, is_digest=is_digest)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
async def test_a_digest_has_32_bytes(harness: EngineHarness, length: int) -> None:
    await rsa_device(harness, KeyPurpose.DATA)
    with pytest.raises(InvalidInputError):
        await harness.signing(config="rsa", message=bytes(length), is_digest=True)


async def test_an_algorithm_of_messages_takes_no_digest(harness: EngineHarness) -> None:
    with pytest.raises(UsageError, match="not a digest"):
        await harness.signing(message=DIGEST, is_digest=True)


async def test_a_key_for_packages_signs_no_data(harness: EngineHarness) -> None:
    await harness.create_device("packages", purpose=KeyPurpose.PACKAGE)
    with pytest.raises(InvalidKeyError, match="is for packages"):
        await harness.signing(config="packages")
    await harness.package(config="packages")


async def test_a_message_has_at_most_a_mebibyte(harness: EngineHarness) -> None:
    task = await harness.signing(message=b"x" * 1024 * 1024)
    assert task.inputs[0].inline is None
    assert task.inputs[0].size == 1024 * 1024
    for message in (b"", b"x" * (1024 * 1024 + 1)):
        with pytest.raises(InvalidInputError):
            await harness.signing(message=message)


async def test_a_message_that_begins_like_a_container_is_refused(harness: EngineHarness) -> None:
    for message in (SE1Format.magic, SE1Format.magic + b"and more"):
        with pytest.raises(InvalidKeyError, match="starts like"):
            await harness.signing(message=message)
    await harness.signing(message=b" " + SE1Format.magic)


async def test_a_small_message_is_kept_in_the_task(harness: EngineHarness) -> None:
    assert (await harness.signing(message=b"x" * 4096)).inputs[0].inline is not None
    assert (await harness.signing(message=b"x" * 4097)).inputs[0].inline is None


async def test_a_list_gives_the_newest_first_and_each_task_once(harness: EngineHarness) -> None:
    made = []
    for _ in range(5):
        await harness.advance_clock(seconds=1)
        made.append((await harness.package()).id)
    seen: list[str] = []
    after = None
    while True:
        page = await harness.engine.queries.list_tasks(SECOND, TaskFilter(), after, 2)
        seen += [each.id for each in page.tasks]
        if (after := page.next) is None:
            break
    assert seen == made[::-1]


async def test_a_list_may_be_asked_for_the_other_way_round(harness: EngineHarness) -> None:
    made = []
    for _ in range(3):
        await harness.advance_clock(seconds=1)
        made.append((await harness.package()).id)
    page = await harness.engine.queries.list_tasks(SECOND, TaskFilter(oldest_first=True), None, 2)
    rest = await harness.engine.queries.list_tasks(SECOND, TaskFilter(oldest_first=True), page.next, 2)
    assert [each.id for each in (*page.tasks, *rest.tasks)] == made
