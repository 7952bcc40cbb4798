"""Functions that create a task in a given state, for scenarios with a stepped engine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from sealyard.model.tasks import Task, TaskStatus
from tests.engine.stepped import settle
from tests.engine.stepped_harness import Scenario


async def create_new_task(scenario: Scenario) -> None:
    """Create a task that is stored as CREATED; the commit that makes it WAITING is not submitted yet."""
    harness = scenario.harness
    file = await harness.upload(scenario.harness.clock.now().isoformat().encode())
    harness.gates.automatic = False
    await _store_new_task(scenario, harness.package(firmware=(file,)))


async def create_waiting_task(scenario: Scenario) -> None:
    """Create a package task that waits for approval."""
    scenario.task_id = (await scenario.harness.package()).id


async def create_waiting_signing_task(scenario: Scenario) -> None:
    """Create a signing task, which is WAITING from its first commit on and has no result file."""
    scenario.task_id = (await scenario.harness.signing()).id


async def create_encryption_task(scenario: Scenario) -> None:
    """Create an encryption task, which needs no approval and uses no signing key."""
    harness = scenario.harness
    file = await harness.upload(scenario.harness.clock.now().isoformat().encode())
    harness.gates.automatic = False
    await _store_new_task(scenario, harness.encryption(file=file))


async def create_scheduled_task(scenario: Scenario) -> None:
    """Create an approved task for which no worker is started yet."""
    await create_waiting_task(scenario)
    await _approve_until(scenario, TaskStatus.SCHEDULED)


async def create_running_task(scenario: Scenario) -> None:
    """Create a task that a worker has, before it requests the signing permission."""
    await create_waiting_task(scenario)
    await _approve_until(scenario, TaskStatus.RUNNING)
    await _open_gates_until(scenario, "worker asks")


async def create_task_before_intent(scenario: Scenario) -> None:
    """Create a task whose worker requested the signing permission; the intent is not durable yet."""
    await create_running_task(scenario)
    await _open_gate(scenario, "worker asks")


async def _store_new_task(scenario: Scenario, creation: Coroutine[None, None, Task]) -> None:
    creation_task = asyncio.ensure_future(creation)
    creation_task.add_done_callback(lambda future: future.cancelled() or future.exception())
    await settle()
    (task,) = scenario.harness.engine.repository.tasks({"status": TaskStatus.CREATED.value})
    scenario.task_id = task.id


async def _approve_until(scenario: Scenario, status: TaskStatus) -> None:
    harness = scenario.harness
    harness.gates.automatic = False
    approval = asyncio.ensure_future(harness.approve(harness.task(scenario.task_id)))
    while harness.task(scenario.task_id).status is not status or harness.store.pending:
        await settle()
        if harness.store.pending:
            harness.store.sync()
        elif harness.gates.closed:
            harness.gates.closed.pop(0).open()
        await settle()
    await approval


async def _open_gates_until(scenario: Scenario, name: str) -> None:
    gates = scenario.harness.gates
    await settle()
    while not any(gate.name == name for gate in gates.closed):
        gates.closed.pop(0).open()
        await settle()


async def _open_gate(scenario: Scenario, name: str) -> None:
    gates = scenario.harness.gates
    gate = next(gate for gate in gates.closed if gate.name == name)
    gates.closed.remove(gate)
    gate.open()
    await settle()


START_STATES = {
    "created": create_new_task,
    "encryption": create_encryption_task,
    "waiting": create_waiting_task,
    "waiting-signature": create_waiting_signing_task,
    "scheduled": create_scheduled_task,
    "running": create_running_task,
    "signing": create_task_before_intent,
}
