"""Test justifications, resubmissions and detailed statuses with both clients: in this process and over HTTP."""

from __future__ import annotations

import pytest

from sealyard.model.errors import NotFoundError, UsageError
from sealyard.model.events import TaskChanged
from sealyard.model.requests import EncryptionRequest, PackageRequest, SigningRequest, TaskFilter
from sealyard.model.tasks import DetailedStatus, TaskStatus, Verdict
from tests.support.client_kinds import GATEWAY, ClientHarness, ContractSubjects


def test_justification_reaches_approver(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        task = await subjects.package(justification="fixes the watchdog reset")
        assert task.justification == "fixes the watchdog reset"
        assert (await owner.review(task.id)).task.justification == "fixes the watchdog reset"
        signing = await dev.create_signing(SigningRequest(config=GATEWAY, message=b"sign me", justification="nonce"))
        assert (await owner.task(signing.id)).justification == "nonce"
        file = await dev.upload(subjects.create_file())
        encryption = await dev.create_encryption(EncryptionRequest(config=GATEWAY, file=file, justification="logs"))
        assert (await owner.task(encryption.id)).justification == "logs"
        with pytest.raises(UsageError, match="justification"):
            await subjects.package(justification="x" * 2001)

    harness.run(test)


def test_rejected_package_is_resubmitted(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        earlier = await subjects.package()
        rejected = await owner.decide(earlier.id, Verdict.REJECTED, "wrong version")
        assert (rejected.status, rejected.detailed_status) == (TaskStatus.CANCELLED, DetailedStatus.REJECTED)
        task = await subjects.package(resubmission_of=earlier.id)
        assert task.resubmission_of == earlier.id
        shown = (await owner.review(task.id)).resubmission_of
        assert shown is not None
        assert (shown.id, "wrong version" in shown.reason) == (earlier.id, True)
        with pytest.raises(UsageError, match="cannot be submitted again"):
            await subjects.package(resubmission_of=task.id)
        with pytest.raises(NotFoundError):
            await subjects.package(resubmission_of="nothing")
        file = await dev.upload(subjects.create_file())
        await dev.create_package(PackageRequest(config=GATEWAY, firmware=(file,)))

    shared_harness.run(test)


def test_detailed_status_is_filtered_and_reported(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        cursor = await dev.cursor()
        rejected, withdrawn = await subjects.package(), await subjects.package()
        await owner.decide(rejected.id, Verdict.REJECTED, "wrong version")
        await dev.withdraw(withdrawn.id, "not needed")
        for status, tasks in (
            (DetailedStatus.REJECTED, [rejected]),
            (DetailedStatus.WITHDRAWN, [withdrawn]),
            (TaskStatus.CANCELLED, [withdrawn, rejected]),
        ):
            page = await dev.tasks(TaskFilter(status=status))
            assert ([each.id for each in page.tasks], page.total) == ([each.id for each in tasks], len(tasks))
        statuses: list[DetailedStatus | None] = []
        async for event in dev.events(cursor):
            if isinstance(event, TaskChanged):
                statuses.append(event.detailed_status)
            if event.cursor == await dev.cursor():
                break
        assert statuses[-2:] == [DetailedStatus.REJECTED, DetailedStatus.WITHDRAWN]

    harness.run(test)
