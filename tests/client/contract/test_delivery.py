"""Test with both clients what is known about a change that the caller stops waiting for."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.client.delivery import track_delivery
from sealyard.model.tasks import TaskStatus, Verdict
from tests.support.client_kinds import ADMIN, ClientHarness, ContractSubjects


def test_completed_change_has_arrived(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin = await subjects.client_for(ADMIN)
        with track_delivery() as delivery:
            await admin.access()
            assert not delivery.may_have_arrived, "reads change nothing"
            await admin.add_subject("USER:maria")
            assert delivery.may_have_arrived

    harness.run(test)


def test_cancelled_change_is_never_made(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        _, dev, owner = await subjects.all_clients()
        task = await subjects.package()
        with track_delivery() as delivery:
            assert delivery.cancel() is False
            for change in (
                owner.decide(task.id, Verdict.APPROVED),
                dev.withdraw(task.id, "a mistake"),
                dev.cancel(task.id),
            ):
                with pytest.raises(asyncio.CancelledError):
                    await change
            assert not delivery.may_have_arrived
        assert (await dev.task(task.id)).status is TaskStatus.WAITING

    harness.run(test)
