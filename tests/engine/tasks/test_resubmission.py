"""Tests of justifications, resubmissions, and the statuses REJECTED and WITHDRAWN."""

from __future__ import annotations

import msgspec
import pytest

from sealyard.engine.state.tables import TASKS
from sealyard.model.approval import approval_digest
from sealyard.model.audit import AuditAction
from sealyard.model.errors import ConflictError, InvariantError, NotFoundError, UsageError
from sealyard.model.requests import PackageRequest, TaskFilter
from sealyard.model.task_invariants import check_change
from sealyard.model.tasks import DetailedStatus, Task, TaskStatus, Verdict
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, OWNER, EngineHarness

pytestmark = pytest.mark.anyio


async def create(harness: EngineHarness, **fields: object) -> Task:
    file = await harness.upload()
    request = PackageRequest(config=GATEWAY, firmware=(file,), **fields)  # type: ignore[arg-type]
    return await harness.execute(DEV, harness.engine.creation.create_package(DEV, request))


async def reject(harness: EngineHarness, task: Task, reason: str = "wrong version") -> Task:
    return await harness.execute(OWNER, harness.engine.decisions.decide(OWNER, task.id, Verdict.REJECTED, reason, None))


async def withdraw(harness: EngineHarness, task: Task) -> Task:
    return await harness.execute(DEV, harness.engine.decisions.withdraw(DEV, task.id, "built from a branch"))


# ---- justification


async def test_justification_is_stored_and_audited(harness: EngineHarness) -> None:
    task = await create(harness, justification="  fixes the watchdog reset \n")
    assert harness.task(task.id).justification == "fixes the watchdog reset"
    entry = (await harness.audit_entries(AuditAction.CREATED, f"TASK:{task.id}"))[0]
    assert entry.new_value is not None
    assert entry.new_value["justification"] == "fixes the watchdog reset"
    assert (await harness.engine.reviews.review(OWNER, task.id)).task.justification == "fixes the watchdog reset"


async def test_justification_is_not_part_of_approval_digest(harness: EngineHarness) -> None:
    task = await create(harness, justification="fixes the watchdog reset")
    assert approval_digest(task) == approval_digest(msgspec.structs.replace(task, justification=""))


async def test_justification_never_changes(harness: EngineHarness) -> None:
    task = await create(harness, justification="fixes the watchdog reset")
    with pytest.raises(InvariantError, match="justification"):
        check_change(task, msgspec.structs.replace(task, justification="another"))
    with pytest.raises(InvariantError, match="replaces"):
        check_change(task, msgspec.structs.replace(task, resubmission_of="abcdefghij"))


async def test_long_justification_is_rejected(harness: EngineHarness) -> None:
    assert (await create(harness, justification="x" * 2000)).justification == "x" * 2000
    with pytest.raises(UsageError, match="at most 2000 characters"):
        await create(harness, justification="x" * 2001)


async def test_task_stored_before_justifications_is_read(harness: EngineHarness) -> None:
    document = msgspec.to_builtins(await create(harness))
    del document["justification"], document["resubmissionOf"]
    task = msgspec.convert(document, TASKS.type)
    assert (task.justification, task.resubmission_of) == ("", None)


async def test_request_digest_without_justification_is_unchanged() -> None:
    encoded = msgspec.json.decode(msgspec.json.encode(PackageRequest(config=GATEWAY, firmware=())))
    assert set(encoded) == {"config", "firmware", "metadata", "name", "contentType", "clientToken"}


async def test_client_token_is_bound_to_justification(harness: EngineHarness) -> None:
    task = await create(harness, client_token="token", justification="first")
    assert (await create(harness, client_token="token", justification="first")).id == task.id
    with pytest.raises(ConflictError):
        await create(harness, client_token="token", justification="second")


# ---- statuses


async def test_detailed_status_of_ended_tasks(harness: EngineHarness) -> None:
    rejected = await reject(harness, await create(harness))
    withdrawn = await withdraw(harness, await create(harness))
    cancelled_task = await create(harness)
    cancelled = await harness.execute(DEV, harness.engine.decisions.cancel(DEV, cancelled_task.id))
    assert {each.status for each in (rejected, withdrawn, cancelled)} == {TaskStatus.CANCELLED}
    assert [each.detailed_status for each in (rejected, withdrawn, cancelled)] == ["REJECTED", "WITHDRAWN", "CANCELLED"]
    waiting = harness.task((await create(harness)).id)
    assert waiting.detailed_status is DetailedStatus.WAITING


@pytest.mark.parametrize(
    ("status", "expected_names"),
    [
        (DetailedStatus.REJECTED, ["rejected"]),
        (DetailedStatus.WITHDRAWN, ["withdrawn"]),
        (DetailedStatus.CANCELLED, ["cancelled", "rejected", "withdrawn"]),
        (TaskStatus.CANCELLED, ["cancelled", "rejected", "withdrawn"]),
        (DetailedStatus.WAITING, ["waiting"]),
    ],
)
async def test_filter_by_detailed_status(
    harness: EngineHarness, status: TaskStatus | DetailedStatus, expected_names: list[str]
) -> None:
    await reject(harness, await create(harness, name="rejected"))
    await withdraw(harness, await create(harness, name="withdrawn"))
    await harness.execute(DEV, harness.engine.decisions.cancel(DEV, (await create(harness, name="cancelled")).id))
    await create(harness, name="waiting")
    page = await harness.engine.queries.list_tasks(DEV, TaskFilter(status=status), None, 10)
    assert sorted(each.name for each in page.tasks) == expected_names
    assert page.total == len(expected_names)


# ---- resubmission


async def test_review_shows_earlier_task_and_its_reason(harness: EngineHarness) -> None:
    earlier = await reject(harness, await create(harness))
    task = await create(harness, resubmission_of=earlier.id[:6])
    assert task.resubmission_of == earlier.id
    shown = (await harness.engine.reviews.review(OWNER, task.id)).resubmission_of
    assert shown is not None
    assert (shown.id, shown.detailed_status) == (earlier.id, DetailedStatus.REJECTED)
    assert shown.reason == f"Rejected by {OWNER}: wrong version"
    entry = (await harness.audit_entries(AuditAction.CREATED, f"TASK:{task.id}"))[0]
    assert entry.new_value is not None
    assert entry.new_value["resubmissionOf"] == earlier.id


async def test_review_hides_earlier_task_of_other_configuration(harness: EngineHarness) -> None:
    earlier = await withdraw(harness, await create(harness))
    hidden = msgspec.structs.replace(
        earlier, id="hiddentask", created_by=ADMIN, config_id="another", approval_digest=""
    )
    await harness.insert_tasks(hidden)
    template = await create(harness)
    task = msgspec.structs.replace(harness.task(template.id), id="resubmitted", resubmission_of=hidden.id)
    await harness.insert_tasks(task)
    assert (await harness.engine.reviews.review(OWNER, task.id)).resubmission_of is None


async def test_only_ended_tasks_without_result_can_be_resubmitted(harness: EngineHarness) -> None:
    waiting = await create(harness)
    with pytest.raises(UsageError, match="cannot be submitted again: it is WAITING"):
        await create(harness, resubmission_of=waiting.id)


async def test_unknown_and_hidden_tasks_cannot_be_resubmitted(harness: EngineHarness) -> None:
    earlier = await withdraw(harness, await create(harness))
    hidden = msgspec.structs.replace(
        earlier, id="hiddentask", created_by=ADMIN, config_id="another", approval_digest=""
    )
    await harness.insert_tasks(hidden)
    for task_id in ("hiddentask", "nothing"):
        with pytest.raises(NotFoundError):
            await create(harness, resubmission_of=task_id)
