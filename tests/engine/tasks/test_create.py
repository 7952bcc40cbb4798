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


async def test_packaging_answers_created_and_then_waits(house: EngineHarness) -> None:
    file = await house.upload()
    request = PackageRequest(config=GATEWAY, firmware=(file,), content_type="firmware")
    answered = await house.execute(DEV, house.engine.creation.create_package(DEV, request))
    assert answered.status is S.CREATED
    task = house.task(answered.id)
    assert task.status is S.WAITING
    assert task.approval_expires_at == START + timedelta(days=7)
    assert (task.config_name, task.config_version, task.created_by) == (GATEWAY, 1, DEV)
    assert (task.name, task.content_type, task.inputs) == ("firmware.bin", "firmware", (file,))
    assert [(each.kind, each.status) for each in task.subtasks] == [
        (TaskKind.ENCRYPTION, S.CREATED),
        (TaskKind.SIGNING, S.WAITING),
    ]


async def test_signing_answers_waiting(house: EngineHarness) -> None:
    task = await house.signing(message=b"sign me")
    assert task.status is S.WAITING
    assert task.inputs[0].sha256 == sha256(b"sign me")
    assert task.subtasks == ()


async def test_encryption_answers_created_and_is_scheduled_without_approval(house: EngineHarness) -> None:
    await house.reopen(work=False)
    file = await house.upload()
    request = EncryptionRequest(config=GATEWAY, file=file)
    answered = await house.execute(DEV, house.engine.creation.create_encryption(DEV, request))
    assert answered.status is S.CREATED
    task = house.task(answered.id)
    assert (task.status, task.approvals_required) == (S.SCHEDULED, 0)


async def test_the_policy_says_what_needs_approval(house: EngineHarness) -> None:
    await house.reopen(work=False)
    await house.set_policy(requires_approval=(TaskKind.ENCRYPTION,), approval_timeout=60, execution_timeout=90)
    encryption = await house.encryption()
    assert (encryption.status, encryption.approvals_required) == (S.WAITING, 1)
    assert encryption.approval_expires_at == START + timedelta(seconds=60)
    package = await house.package()
    assert (package.status, package.execution_expires_at) == (S.SCHEDULED, START + timedelta(seconds=90))
    assert (await house.signing()).status is S.SCHEDULED


async def test_a_task_keeps_the_version_it_was_asked_under(house: EngineHarness) -> None:
    task = await house.package()
    await house.execute(ADMIN, house.engine.devices.update(ADMIN, DeviceUpdate(config=GATEWAY, approvals_required=2)))
    assert house.task(task.id).config_version == 1
    assert (await house.approve(task)).status is S.SCHEDULED
    assert (await house.package()).config_version == 2


async def test_creation_is_audited_with_what_was_handed_in(house: EngineHarness) -> None:
    task = await house.package()
    entry = (await house.audit_entries(AuditAction.CREATED, f"TASK:{task.id}"))[0]
    assert entry.author == DEV
    assert entry.new_value is not None
    assert entry.new_value["approvalDigest"] == task.approval_digest
    assert entry.new_value["inputs"] == [[each.name, each.size, each.sha256] for each in task.inputs]


# ---- client tokens


async def test_the_same_token_gives_the_same_task(house: EngineHarness) -> None:
    file = await house.upload()
    first = await house.package(firmware=(file,), client_token="one")
    await house.approve(first)
    again = await house.package(firmware=(file,), client_token="one")
    assert again.id == first.id
    assert again.status is not S.CREATED


async def test_a_token_used_fifty_times_at_once_makes_one_task(house: EngineHarness) -> None:
    file = await house.upload()
    made = await asyncio.gather(*(house.package(firmware=(file,), client_token="one") for _ in range(50)))
    assert len({each.id for each in made}) == 1
    assert len(await house.audit_entries(AuditAction.CREATED, f"TASK:{made[0].id}")) == 1
    signed = await asyncio.gather(*(house.signing(message=b"x" * 5000, client_token="two") for _ in range(50)))
    assert len({each.id for each in signed}) == 1
    assert house.artifacts.input_path(sha256(b"x" * 5000)).is_file()


async def test_a_token_is_good_for_one_request(house: EngineHarness) -> None:
    file = await house.upload()
    await house.package(firmware=(file,), client_token="one")
    with pytest.raises(ConflictError, match="a different request"):
        await house.package(firmware=(file,), client_token="one", name="other")
    with pytest.raises(ConflictError):
        await house.encryption(file=file, client_token="one")


async def test_a_token_belongs_to_who_used_it(house: EngineHarness) -> None:
    file = await house.upload()
    mine = await house.package(DEV, firmware=(file,), client_token="one")
    theirs = await house.package(CLIENT, firmware=(file,), client_token="one")
    assert mine.id != theirs.id


async def test_a_token_is_good_after_the_inputs_are_gone(house: EngineHarness) -> None:
    file = await house.upload()
    first = await house.package(firmware=(file,), client_token="one")
    await house.decide(first, OWNER, Verdict.REJECTED, "no")
    assert (await house.package(firmware=(file,), client_token="one")).id == first.id


# ---- inputs


async def test_an_unknown_configuration_is_refused(house: EngineHarness) -> None:
    for config in ("nothing", "", "\x1b"):
        with pytest.raises(NotFoundError):
            await house.package(config=config)


async def test_what_is_not_stored_any_more_is_refused(house: EngineHarness) -> None:
    file = await house.upload()
    house.engine.inputs.discard((file,))
    for act in (house.package(firmware=(file,)), house.encryption(file=file)):
        with pytest.raises(InvalidInputError, match="no longer stored"):
            await act


async def test_what_is_stored_under_another_size_is_refused(house: EngineHarness) -> None:
    file = await house.upload()
    for odd in (msgspec.structs.replace(file, size=1), msgspec.structs.replace(file, sha256="00" * 32)):
        with pytest.raises(InvalidInputError):
            await house.package(firmware=(odd,))
    with pytest.raises(UsageError):
        await house.package(firmware=(msgspec.structs.replace(file, sha256="../../etc"),))


async def test_bytes_beside_the_digest_are_refused(house: EngineHarness) -> None:
    """The approver sees what the digest names; a worker must not be handed anything else."""
    file = msgspec.structs.replace(await house.upload(), inline="ZXZpbA==")
    acts: tuple[Callable[[], Awaitable[Task]], ...] = (
        lambda: house.package(firmware=(file,)),
        lambda: house.package(metadata=(file,)),
        lambda: house.encryption(file=file),
    )
    for act in acts:
        with pytest.raises(InvalidInputError):
            await act()


async def test_an_input_stays_while_a_task_needs_it_and_goes_with_the_last(house: EngineHarness) -> None:
    file = await house.upload()
    first = await house.package(firmware=(file,))
    second = await house.package(firmware=(file,), metadata=(file,))
    path = house.artifacts.input_path(file.sha256)
    await house.decide(first, OWNER, Verdict.REJECTED, "no")
    assert path.is_file()
    await house.decide(second, OWNER, Verdict.REJECTED, "no")
    assert not path.exists()


async def test_an_upload_that_no_task_claims_goes_after_a_day(empty: EngineHarness) -> None:
    file = await empty.upload()
    path = empty.artifacts.input_path(file.sha256)
    await empty.wait_until(lambda: empty.clock.has_sleeper(3600))
    await empty.advance_clock(hours=23, minutes=59)
    await empty.wait_until(lambda: empty.clock.has_sleeper(3600))
    assert path.is_file()
    await empty.advance_clock(hours=1)
    await empty.wait_until(lambda: not path.exists())


async def test_a_caller_that_goes_away_leaves_a_whole_task(house: EngineHarness, disk: FailingDisk) -> None:
    """The commit is made anyhow: inputs stay, and the task moves on as if somebody had waited."""
    file = await house.upload()
    disk.block()
    asking = asyncio.create_task(house.package(firmware=(file,), client_token="one"))
    await house.wait_until(lambda: house.engine.store.count("tasks") == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    disk.unblock()
    await house.wait_until_durable()
    task = await house.package(firmware=(file,), client_token="one")
    assert house.artifacts.input_path(file.sha256).is_file()
    assert await house.wait_for_status(task, S.WAITING)


async def test_a_token_is_answered_when_its_task_is_durable(house: EngineHarness, disk: FailingDisk) -> None:
    """Whoever asks while the first commit is on its way must not be told of a task that never comes to be."""
    file = await house.upload()
    disk.block()
    disk.fail()
    asking = [asyncio.create_task(house.package(firmware=(file,), client_token="one")) for _ in range(3)]
    await house.wait_until(lambda: house.engine.store.count("tasks") == 1)
    await asyncio.sleep(0)
    disk.unblock()
    for each in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(each, StorageError)
    assert house.engine.store.count("tasks") == 0
    assert (await house.package(firmware=(file,), client_token="one")).status is S.WAITING


# ---- limits


async def test_a_package_needs_firmware(house: EngineHarness) -> None:
    with pytest.raises(InvalidInputError, match="at least one firmware file"):
        await house.package(firmware=())


async def test_the_formats_limits_are_told_at_once(house: EngineHarness) -> None:
    file = await house.upload()
    with pytest.raises(FormatLimitError):
        await house.package(firmware=(file,) * 256)
    much = await house.upload(b"m" * 70_000)
    with pytest.raises(FormatLimitError):
        await house.package(metadata=(much,))
    assert len((await house.package(firmware=(file,) * 255)).subtasks) == 256


async def test_a_name_has_a_length(house: EngineHarness) -> None:
    assert (await house.package(name="x" * 200)).name == "x" * 200
    for act in (house.package(name="x" * 201), house.encryption(name="x" * 201), house.signing(name="x" * 201)):
        with pytest.raises(UsageError, match="200 characters"):
            await act


@pytest.mark.parametrize("ask", ["package", "encryption", "signing"])
async def test_a_content_type_has_a_length(house: EngineHarness, ask: str) -> None:
    await getattr(house, ask)(content_type="x" * 1000)
    with pytest.raises(UsageError, match="1000 characters"):
        await getattr(house, ask)(content_type="x" * 1001)


async def test_the_names_of_files_have_a_length(house: EngineHarness) -> None:
    good, bad = [await house.upload(name="x" * length) for length in (255, 256)]
    await house.package(firmware=(good,), metadata=(good,))
    await house.signing(file_name="x" * 255, name="short")
    for asked in (
        house.package(firmware=(good, bad)),
        house.package(firmware=(good,), metadata=(bad,)),
        house.encryption(file=bad, name="short"),
        house.signing(file_name="x" * 256, name="short"),
    ):
        with pytest.raises(InvalidInputError, match="255 characters"):
            await asked


async def test_a_message_whose_file_name_is_too_long_is_not_stored(house: EngineHarness) -> None:
    message = b"x" * 5000
    with pytest.raises(InvalidInputError):
        await house.signing(message=message, file_name="x" * 256)
    with pytest.raises(NotFoundError):
        house.artifacts.input_path(sha256(message))


async def test_a_name_made_of_many_file_names_is_cut(house: EngineHarness) -> None:
    files = tuple([await house.upload(bytes([number]), "n" * 50 + str(number)) for number in range(9)])
    task = await house.package(firmware=files)
    assert len(task.name) == 200
    assert task.name.endswith("…")


@pytest.mark.parametrize("field", ["name", "content_type", "client_token"])
async def test_text_that_is_no_unicode_is_refused_and_leaves_no_gap(house: EngineHarness, field: str) -> None:
    acts: tuple[Callable[..., Awaitable[Task]], ...] = (house.package, house.encryption, house.signing)
    for act in acts:
        with pytest.raises(SealyardError):
            await act(**{field: "\udcff"})
    task = await house.package()
    await house.reopen()
    assert house.task(task.id).status is S.WAITING
    report = await house.engine.audit.verify(ADMIN, None, None)
    assert report.uncheckpointed_count == 0


async def test_a_file_name_that_is_no_unicode_is_escaped(house: EngineHarness) -> None:
    file = await house.upload(name="a\udcff.bin")
    assert file.name == "a\\udcff.bin"
    with pytest.raises(SealyardError):
        await house.package(firmware=(msgspec.structs.replace(file, name="\udcff"),))


# ---- what a signing task takes

DIGEST = hashlib.sha256(b"message").digest()
PSS = SigningAlgorithm.SHA256_RSA_3072_PSS


async def rsa_device(house: EngineHarness, purpose: KeyPurpose) -> None:
    await house.create_device("rsa", signing=PSS, purpose=purpose)


async def test_a_bare_digest_is_signed_with_a_data_key_only(house: EngineHarness) -> None:
    await rsa_device(house, KeyPurpose.DATA)
    task = await house.signing(config="rsa", message=DIGEST, is_digest=True)
    assert task.status is S.WAITING
    assert any("cannot see what will be signed" in each for each in task.warnings)


@pytest.mark.parametrize("purpose", [KeyPurpose.BOTH, KeyPurpose.PACKAGE])
async def test_a_key_that_signs_packages_signs_no_bare_digest(house: EngineHarness, purpose: KeyPurpose) -> None:
    await rsa_device(house, purpose)
    for is_digest in (True, False):
        with pytest.raises(InvalidKeyError):
            await house.signing(config="rsa", message=DIGEST, is_digest=is_digest)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
async def test_a_digest_has_32_bytes(house: EngineHarness, length: int) -> None:
    await rsa_device(house, KeyPurpose.DATA)
    with pytest.raises(InvalidInputError):
        await house.signing(config="rsa", message=bytes(length), is_digest=True)


async def test_an_algorithm_of_messages_takes_no_digest(house: EngineHarness) -> None:
    with pytest.raises(UsageError, match="not a digest"):
        await house.signing(message=DIGEST, is_digest=True)


async def test_a_key_for_packages_signs_no_data(house: EngineHarness) -> None:
    await house.create_device("packages", purpose=KeyPurpose.PACKAGE)
    with pytest.raises(InvalidKeyError, match="is for packages"):
        await house.signing(config="packages")
    await house.package(config="packages")


async def test_a_message_has_at_most_a_mebibyte(house: EngineHarness) -> None:
    task = await house.signing(message=b"x" * 1024 * 1024)
    assert task.inputs[0].inline is None
    assert task.inputs[0].size == 1024 * 1024
    for message in (b"", b"x" * (1024 * 1024 + 1)):
        with pytest.raises(InvalidInputError):
            await house.signing(message=message)


async def test_a_message_that_begins_like_a_container_is_refused(house: EngineHarness) -> None:
    for message in (SE1Format.magic, SE1Format.magic + b"and more"):
        with pytest.raises(InvalidKeyError, match="starts like"):
            await house.signing(message=message)
    await house.signing(message=b" " + SE1Format.magic)


async def test_a_small_message_is_kept_in_the_task(house: EngineHarness) -> None:
    assert (await house.signing(message=b"x" * 4096)).inputs[0].inline is not None
    assert (await house.signing(message=b"x" * 4097)).inputs[0].inline is None


async def test_a_list_gives_the_newest_first_and_each_task_once(house: EngineHarness) -> None:
    made = []
    for _ in range(5):
        await house.advance_clock(seconds=1)
        made.append((await house.package()).id)
    seen: list[str] = []
    after = None
    while True:
        page = await house.engine.queries.list_tasks(SECOND, TaskFilter(), after, 2)
        seen += [each.id for each in page.tasks]
        if (after := page.next) is None:
            break
    assert seen == made[::-1]


async def test_a_list_may_be_asked_for_the_other_way_round(house: EngineHarness) -> None:
    made = []
    for _ in range(3):
        await house.advance_clock(seconds=1)
        made.append((await house.package()).id)
    page = await house.engine.queries.list_tasks(SECOND, TaskFilter(oldest_first=True), None, 2)
    rest = await house.engine.queries.list_tasks(SECOND, TaskFilter(oldest_first=True), page.next, 2)
    assert [each.id for each in (*page.tasks, *rest.tasks)] == made
