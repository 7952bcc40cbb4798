"""Test tasks and results with both clients: in this process and over HTTP."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from sealyard.client.downloads.downloader import Downloader
from sealyard.client.downloads.history import DownloadHistory
from sealyard.client.protocol import Client
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.errors import (
    ConflictError,
    InvalidInputError,
    InvalidTransitionError,
    NotFoundError,
    PermissionDeniedError,
    ResultExpiredError,
    SealyardError,
    UsageError,
    WaitTimeoutError,
)
from sealyard.model.events import TaskChanged
from sealyard.model.metadata_changes import FieldChange
from sealyard.model.requests import (
    DeviceRequest,
    EncryptionKeyRequest,
    EncryptionRequest,
    PackageRequest,
    SigningKeyRequest,
    SigningRequest,
    TaskFilter,
)
from sealyard.model.tasks import DecisionOrigin, InputFile, ResultState, TaskKind, TaskStatus, Verdict
from tests.support.client_kinds import ADMIN, CONTENT, DEV, GATEWAY, OWNER, ClientHarness, ContractSubjects
from tests.support.limits import TIMEOUT


def test_package_is_approved_downloaded_and_verified(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        reports: list[tuple[int, int]] = []
        firmware = await dev.upload(subjects.create_file(), progress=lambda done, total: reports.append((done, total)))
        metadata = await dev.upload(subjects.create_file("meta.json", b'{"version": 1}'))
        assert firmware == InputFile(name="firmware.bin", size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
        assert reports[-1] == (len(CONTENT), len(CONTENT))
        request = PackageRequest(config=GATEWAY, firmware=(firmware,), metadata=(metadata,), name="release 1")
        task = await dev.create_package(request)
        assert (task.kind, task.created_by, task.name) == (TaskKind.PACKAGING, DEV, "release 1")
        assert (task.inputs, task.metadata) == ((firmware,), (metadata,))
        await dev.discard_uploads((firmware, metadata))

        review = await owner.review(task.id)
        assert (review.blocked_reason, review.metadata) == ("", (("meta.json", b'{"version": 1}'),))
        await owner.decide(
            task.id, Verdict.APPROVED, "fine", digest=review.task.approval_digest, origin=DecisionOrigin.TERMINAL
        )
        done = await dev.wait(task.id, within=TIMEOUT)
        assert done.status is TaskStatus.DONE
        assert [(each.by, each.reason, each.origin) for each in done.approvals] == [
            (OWNER, "fine", DecisionOrigin.TERMINAL)
        ]

        downloads = Downloader(dev, subjects.folder / "out", DownloadHistory(subjects.folder / "state.json"))
        downloaded = await downloads.download(done.id)
        assert done.result is not None
        assert (downloaded.sha256, downloaded.checked) == (done.result.sha256, "signature")
        whole = Path(downloaded.path).read_bytes()
        assert hashlib.sha256(whole).hexdigest() == done.result.sha256
        for offset in (1, len(whole) - 1, len(whole)):
            assert b"".join([each async for each in dev.download(done.id, offset=offset)]) == whole[offset:]
        assert "BEGIN CERTIFICATE" in await dev.certificate(done.id)

        new_metadata = await dev.upload(subjects.create_file("meta.json", b'{"version": 2}'))
        request = PackageRequest(config=GATEWAY, firmware=(firmware,), metadata=(new_metadata,))
        await dev.upload(subjects.create_file())
        review = await owner.review((await dev.create_package(request)).id)
        assert review.previous is not None
        assert review.previous.id == done.id
        (changes,) = review.metadata_changes
        assert changes.fields == (FieldChange(path="version", old="1", new="2"),)

    harness.run(test)


def test_warnings_about_files_are_in_the_task(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        firmware = await dev.upload(subjects.create_file())
        metadata = await dev.upload(subjects.create_file("bad.json", b"{bad"))
        request = PackageRequest(config=GATEWAY, firmware=(firmware, firmware), metadata=(metadata,))
        task = await dev.create_package(request)
        expected_warnings = {
            "bad.json is not valid JSON: line 1, column 2.",
            "Same content in 2 files: firmware.bin, firmware.bin.",
        }
        assert expected_warnings <= set(task.warnings)
        review = await owner.review(task.id)
        assert expected_warnings <= set(review.task.warnings)
        assert review.warnings == ()

    shared_harness.run(test)


def test_encryption_runs_without_approval(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        dev = await subjects.client_for(DEV)
        file = await dev.upload(subjects.create_file())
        task = await dev.create_encryption(EncryptionRequest(config=GATEWAY, file=file, content_type="a/b"))
        assert (await dev.wait(task.id, within=TIMEOUT)).status is TaskStatus.DONE
        with pytest.raises(NotFoundError):
            await dev.certificate(task.id)

    shared_harness.run(test)


def test_encryption_uses_named_key(shared_harness: ClientHarness, tmp_path: Path) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, _ = await subjects.all_clients()
        algorithm = EncryptionAlgorithm.AES128_ECB_ZERO_BYTE_PAD
        device = await admin.create_device(
            DeviceRequest(
                name="door",
                encryption_keys=(
                    EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD, name="content"),
                    EncryptionKeyRequest(algorithm=algorithm, name="legacy"),
                ),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
                use=(DEV,),
                approve=(OWNER, ADMIN),
            )
        )
        file = await dev.upload(subjects.create_file())
        with pytest.raises(UsageError, match="no encryption key 'other'"):
            await dev.create_encryption(EncryptionRequest(config="door", file=file, encryption_key="other"))
        task = await dev.create_encryption(EncryptionRequest(config="door", file=file, encryption_key="legacy"))
        assert task.encryption_key == device.encryption_keys[1]
        assert (await dev.wait(task.id, within=TIMEOUT)).status is TaskStatus.DONE
        ciphertext = b"".join([chunk async for chunk in dev.download(task.id)])
        await admin.export_device_key("door", tmp_path / "key", encryption_key="legacy", confirmed=True)
        decryptor = Cipher(AES((tmp_path / "key").read_bytes()), ECB()).decryptor()
        plaintext = decryptor.update(ciphertext) + decryptor.finalize()
        assert plaintext[: file.size] == CONTENT

    shared_harness.run(test)


def test_signing_returns_signature(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        task = await dev.create_signing(SigningRequest(config=GATEWAY, message=b"\0\xff", file_name="m.bin"))
        assert task.inputs[0].inline == base64.b64encode(b"\0\xff").decode()
        await owner.decide(task.id, Verdict.APPROVED)
        done = await dev.wait(task.id, within=TIMEOUT)
        assert done.result is not None
        assert len(base64.b64decode(done.result.signature or "")) == 64
        with pytest.raises(ConflictError):
            _ = [each async for each in dev.download(task.id)]

    shared_harness.run(test)


def test_same_client_token_returns_same_task(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        dev = await subjects.client_for(DEV)
        file = await dev.upload(subjects.create_file())
        request = PackageRequest(config=GATEWAY, firmware=(file,), client_token="once")
        first, second = await dev.create_package(request), await dev.create_package(request)
        assert first.id == second.id
        assert (await dev.counts()).total == 1
        signing = SigningRequest(config=GATEWAY, message=b"m", client_token="once more")
        tasks = await asyncio.gather(*(dev.create_signing(signing) for _ in range(5)))
        assert len({each.id for each in tasks}) == 1

    harness.run(test)


@pytest.mark.parametrize("name", ["missing", "empty", "folder"])
def test_invalid_file_has_same_error_message(shared_harness: ClientHarness, name: str, tmp_path: Path) -> None:
    messages = {
        "missing": "missing not found. Check the name and the folder.",
        "empty": "empty is empty. Choose a file with content.",
        "folder": "folder is a directory. Choose a file.",
    }

    async def test(subjects: ContractSubjects) -> None:
        (tmp_path / "empty").touch()
        (tmp_path / "folder").mkdir()
        dev = await subjects.client_for(DEV)
        with pytest.raises(InvalidInputError) as caught:
            await dev.upload(tmp_path / name)
        assert str(caught.value) == messages[name]
        with pytest.raises(InvalidInputError, match="SHA-256 mismatch"):
            await dev.upload(subjects.create_file(), expected_sha256="0" * 64)

    shared_harness.run(test)


def test_discarded_upload_is_rejected(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        dev = await subjects.client_for(DEV)
        file = await dev.upload(subjects.create_file())
        await dev.discard_uploads((file,))
        with pytest.raises(InvalidInputError):
            await dev.create_encryption(EncryptionRequest(config=GATEWAY, file=file))

    harness.run(test)


def test_identical_files_are_all_packed(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        dev = await subjects.client_for(DEV)
        files = [await dev.upload(subjects.create_file(name)) for name in ("a.bin", "b.bin", "a.bin")]
        task = await dev.create_package(PackageRequest(config=GATEWAY, firmware=tuple(files)))
        assert [each.name for each in task.inputs] == ["a.bin", "b.bin", "a.bin"]

    shared_harness.run(test)


async def _catch_error(work: object) -> SealyardError:
    assert asyncio.iscoroutine(work)
    with pytest.raises(SealyardError) as caught:
        await work
    return caught.value


def test_four_eyes_violations_raise_same_errors(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        task = await subjects.package()
        error = await _catch_error(dev.decide(task.id, Verdict.APPROVED))
        assert isinstance(error, PermissionDeniedError)
        mismatch = await _catch_error(owner.decide(task.id, Verdict.APPROVED, digest="0" * 64))
        assert str(mismatch) == "The task changed since you reviewed it. Review the task again, then decide."
        assert isinstance(await _catch_error(owner.decide(task.id, Verdict.REJECTED, "x" * 100_000)), UsageError)
        assert isinstance(await _catch_error(owner.withdraw(task.id, "not mine")), PermissionDeniedError)
        withdrawn = await dev.withdraw(task.id, "not needed")
        assert (withdrawn.status, "not needed" in withdrawn.reason) == (TaskStatus.CANCELLED, True)
        assert isinstance(await _catch_error(dev.cancel(task.id)), InvalidTransitionError)
        assert isinstance(await _catch_error(dev.task("no-such-task")), NotFoundError)

    shared_harness.run(test)


def test_rejected_and_cancelled_tasks_are_final(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        first, second = await subjects.package(), await subjects.package()
        assert (await owner.decide(first.id, Verdict.REJECTED, "too old")).status is TaskStatus.CANCELLED
        assert (await dev.cancel(second.id)).status is TaskStatus.CANCELLED
        assert (await dev.wait(first.id, within=TIMEOUT)).reason.endswith("too old")

    shared_harness.run(test)


def test_task_lists_are_paged_and_filtered(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        tasks = [await subjects.package(name=f"release {number}") for number in range(5)]
        signing = await dev.create_signing(SigningRequest(config=GATEWAY, message=b"m", name="ä&=?#%"))

        ids, after = [], None
        while True:
            page = await dev.tasks(TaskFilter(kind=TaskKind.PACKAGING), after=after, limit=2)
            ids += [each.id for each in page.tasks]
            if (after := page.next) is None:
                break
        assert ids == [each.id for each in reversed(tasks)]
        assert (await dev.tasks(TaskFilter())).total == 6
        assert [each.id for each in (await dev.tasks(TaskFilter(text="ä&=?#%"))).tasks] == [signing.id]
        oldest = await owner.tasks(TaskFilter(awaiting_my_approval=True, oldest_first=True), limit=1)
        assert [each.id for each in oldest.tasks] == [tasks[0].id]
        assert (await owner.tasks(TaskFilter(created_by=OWNER))).tasks == ()
        assert (await owner.tasks(TaskFilter(config=GATEWAY, status=TaskStatus.WAITING))).total == 6
        counts = await owner.counts()
        assert (counts.by_status, counts.awaiting_my_approval, counts.mine) == ({TaskStatus.WAITING: 6}, 6, 0)
        assert (await dev.task(tasks[0].id[:20])).id == tasks[0].id

    harness.run(test)


def test_expired_result_is_rejected_until_renewed(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        task = await subjects.package()
        await owner.decide(task.id, Verdict.APPROVED)
        await dev.wait(task.id, within=TIMEOUT)
        subjects.clock.added = timedelta(days=2)
        with pytest.raises(ResultExpiredError, match="Renew the link"):
            _ = [each async for each in dev.download(task.id)]
        renewed = await dev.renew(task.id)
        assert renewed.result is not None
        assert renewed.result.state is ResultState.AVAILABLE
        assert b"".join([each async for each in dev.download(task.id)])
        await dev.report_downloaded(task.id)

    harness.run(test)


# ---- events


async def _collect_changes(client: Client, count: int, after: int) -> list[tuple[str, TaskStatus]]:
    changes: list[tuple[str, TaskStatus]] = []
    async with contextlib.aclosing(client.events(after)) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, TaskChanged):
                changes.append((event.task_id, event.status))
            if len(changes) == count:
                break
    return changes


def test_events_report_changes_in_order(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        events = dev.events()
        next_event = asyncio.ensure_future(anext(events))
        await dev.counts()
        task = await subjects.package()
        first = await next_event
        await owner.decide(task.id, Verdict.APPROVED)
        await dev.wait(task.id, within=TIMEOUT)
        after = first.cursor - 1
        statuses = [status for task_id, status in await _collect_changes(dev, 3, after) if task_id == task.id]
        assert statuses[:2] == [TaskStatus.CREATED, TaskStatus.WAITING]
        await events.aclose()  # type: ignore[attr-defined]

    harness.run(test)


def test_events_after_cursor_are_delivered(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        dev = await subjects.client_for(DEV)
        await subjects.package()
        cursor = await dev.cursor()
        task = await subjects.package()
        assert [task_id for task_id, _ in await _collect_changes(dev, 1, cursor)] == [task.id]

    harness.run(test)


def test_wait_raises_after_timeout(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        task = await subjects.package()
        dev = await subjects.client_for(DEV)
        with pytest.raises(WaitTimeoutError, match=task.id):
            await dev.wait(task.id, within=0.2)
        assert (await dev.wait(task.id, within=TIMEOUT, or_waiting=True)).status is TaskStatus.WAITING

    shared_harness.run(test)
