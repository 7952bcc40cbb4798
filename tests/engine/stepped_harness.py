"""A workspace with a stepped engine, and scenarios of concurrent operations on one task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sealyard.audit.log import AuditLog
from sealyard.audit.reader import AuditReader
from sealyard.engine.audit.checkpointing import migrate_pending_entries
from sealyard.engine.engine import Engine
from sealyard.engine.state.opened_state import OpenedState
from sealyard.engine.state.tables import TASKS
from sealyard.engine.workspace import load_metadata
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.access import Action
from sealyard.model.audit import AuditEntry
from sealyard.model.errors import SealyardError
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.model.worker_messages import Job
from sealyard.storage.artifacts import FileArtifacts
from tests.engine.explorer import Schedule
from tests.engine.stepped import Gates, SteppedBus, SteppedDocuments, SteppedExecutor, settle
from tests.support.clock import FakeClock
from tests.support.engine_harness import ADMIN, DEV, OWNER, EngineHarness
from tests.support.in_memory_keys import InMemoryKeys

TIMEOUT_HOURS = 1
"""The approval timeout, the execution timeout and the time limit of tasks."""

RETENTION_SECONDS = 9 * 365 * 24 * 3600
"""Longer than all scenarios, because the expiry of an earlier result would be an additional step."""

MAX_STEPS = 200


class Step(NamedTuple):
    name: str
    run: Callable[[], object]


class SteppedHarness(EngineHarness):
    """A workspace whose engine waits at gates."""

    bus: SteppedBus

    def __init__(self, root: Path) -> None:
        clock = FakeClock()
        super().__init__(root, InMemoryKeys("sealyard/w1", clock), clock)
        self.gates = Gates()
        self.executor = SteppedExecutor(self.gates)
        self.store = SteppedDocuments(self.gates, {}, [])
        self._unrelated_tasks = asyncio.all_tasks()

    async def open(self, *, work: bool = True) -> Engine:
        asyncio.get_running_loop().set_default_executor(self.executor)
        self.gates.automatic = True
        self._lock = WorkspaceLock.acquire(self.paths.lock, "test")
        audit = AuditLog.open(self.paths.audit)
        migrate_pending_entries(self.store, audit)
        self.store.discard_audit(audit.size - 1)
        self.artifacts = FileArtifacts(self.paths.artifacts)
        self.bus = SteppedBus(self.gates, self.shelf, self.clock, self.artifacts)
        file = load_metadata(self.paths)
        state = OpenedState(self.store, audit, AuditReader(self.paths.audit), self.shelf.engine_keys)
        self.engine = Engine(file, self.paths, self.artifacts, self.bus, self.clock, state)
        self.is_open = True
        await self.engine.start(self._lock, work=work, key_check_interval=self.key_check_interval)
        return self.engine

    async def crash(self, survivors: int) -> None:
        """Cancel everything that runs, and open the next engine with the commits that became durable."""
        self.gates.closed.clear()
        self.executor.discard()
        tasks = asyncio.all_tasks() - self._unrelated_tasks - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lock.release()
        self.store = self.store.reopen_after_crash(survivors)
        await self.open()

    async def drain(self) -> None:
        """Open every gate until the engine is idle."""
        self.gates.automatic = True
        while True:
            await settle()
            if self.gates.closed:
                self.gates.closed.pop(0).open()
            elif self.store.pending:
                self.store.sync()
            elif self.clock.has_sleeper(60):
                self.clock.advance(minutes=1)
            else:
                return


class Operation(NamedTuple):
    """An event that affects a task: a call of a user, the passing of time, or a failure."""

    name: str
    do: Callable[[Scenario], Awaitable[object]]


class Outcome(NamedTuple):
    """The outcome of an operation. ``crashed`` is set if the engine crashed before it returned."""

    operation: str
    error: SealyardError | None = None
    crashed: bool = False

    @property
    def acknowledged(self) -> bool:
        return self.error is None and not self.crashed


class Scenario:
    """Operations on one task, started and continued in the order of a schedule."""

    def __init__(self, harness: SteppedHarness, schedule: Schedule, *, failures: int = 0) -> None:
        self.harness = harness
        self.outcomes: list[Outcome] = []
        self.steps: list[str] = []
        self.task_id = ""
        self._schedule = schedule
        self._failures = failures
        self._first_entry = len(harness.store.entries)

    async def run(self, start: Callable[[Scenario], Awaitable[object]], operations: Sequence[Operation]) -> None:
        """Create a task in its start state, then run ``operations`` until nothing is left to do."""
        self.harness.bus.on_signed = self._check_signing
        await start(self)
        self.harness.gates.automatic = False
        pending = list(operations)
        while True:
            await settle()
            steps = self._possible_steps(pending)
            if not steps:
                break
            step = steps[self._schedule.choose(len(steps))]
            self.steps.append(step.name)
            assert len(self.steps) < MAX_STEPS, self.steps
            result = step.run()
            if asyncio.iscoroutine(result):
                await result
        await self.harness.drain()

    @property
    def task(self) -> Task:
        return self.harness.task(self.task_id)

    @property
    def is_created(self) -> bool:
        """Whether the task exists. A failed commit or a crash may have undone its creation."""
        return self.harness.engine.repository.get(TASKS, self.task_id) is not None

    def entries(self) -> list[AuditEntry]:
        """Return the audit trail of the task."""
        entries = (
            msgspec.json.decode(each, type=AuditEntry) for each in self.harness.store.entries[self._first_entry :]
        )
        return [entry for entry in entries if entry.resource == f"TASK:{self.task_id}"]

    def acknowledged(self, operation: str) -> bool:
        return any(outcome.operation == operation and outcome.acknowledged for outcome in self.outcomes)

    def _possible_steps(self, pending: list[Operation]) -> list[Step]:
        names = dict.fromkeys(operation.name for operation in pending)
        steps = [Step(name, partial(self._start, pending, name)) for name in names]
        steps += [Step(gate.name, partial(self._open_gate, gate)) for gate in self.harness.gates.closed]
        if self.harness.store.pending:
            steps.append(Step("commit is durable", self.harness.store.sync))
            if self._failures:
                steps.append(Step("commit fails", self._fail_commits))
        if not steps and self.harness.clock.has_sleeper(60):
            steps.append(Step("a minute passes", partial(self.harness.clock.advance, minutes=1)))
        return steps

    def _start(self, pending: list[Operation], name: str) -> Any:
        operation = next(operation for operation in pending if operation.name == name)
        pending.remove(operation)
        if operation.name == "restart":
            return self._restart()
        operation_task = asyncio.ensure_future(self._perform(operation))
        operation_task.add_done_callback(lambda future: future.cancelled() or future.result())
        return None

    async def _perform(self, operation: Operation) -> None:
        try:
            await operation.do(self)
        except SealyardError as error:
            self.outcomes.append(Outcome(operation.name, error))
        except asyncio.CancelledError:
            self.outcomes.append(Outcome(operation.name, crashed=True))
        else:
            self.outcomes.append(Outcome(operation.name))

    async def _restart(self) -> None:
        survivors = self._schedule.choose(len(self.harness.store.pending) + 1)
        await self.harness.crash(survivors)
        self.harness.bus.on_signed = self._check_signing
        await settle()
        self.harness.gates.automatic = False

    def _open_gate(self, gate: Any) -> None:
        self.harness.gates.closed.remove(gate)
        gate.open()

    def _fail_commits(self) -> None:
        self._failures -= 1
        self.harness.store.fail()

    def _check_signing(self, job: Job) -> None:
        """Check, when the key is used, that the task may be signed."""
        assert job.task.id == self.task_id
        task = self.task
        assert task.status is TaskStatus.RUNNING, f"signed while {task.status}"
        assert task.fencing_token == job.task.fencing_token, "signed under an old fencing token"
        assert task.intent is not None
        assert task.intent.fencing_token == task.fencing_token
        final_operations = [operation for operation in ("withdraw", "reject", "cancel") if self.acknowledged(operation)]
        assert not final_operations, f"signed after acknowledged {final_operations}"
        self.steps.append("SIGNED")


# ---- operations


def _as_subject(
    subject: str, use_case: Callable[[Scenario], Awaitable[object]]
) -> Callable[[Scenario], Awaitable[object]]:
    async def do(scenario: Scenario) -> None:
        await scenario.harness.execute(subject, use_case(scenario))

    return do


def _decide(verdict: Verdict) -> Callable[[Scenario], Awaitable[object]]:
    def decide(scenario: Scenario) -> Awaitable[object]:
        return scenario.harness.engine.decisions.decide(OWNER, scenario.task_id, verdict, "for a reason", None)

    return _as_subject(OWNER, decide)


async def _expire(scenario: Scenario) -> None:
    scenario.harness.clock.advance(hours=TIMEOUT_HOURS, seconds=1)


async def _revoke(scenario: Scenario) -> None:
    await scenario.harness.remove_rule(OWNER, Action.APPROVE)


async def _crash_worker(scenario: Scenario) -> None:
    scenario.harness.bus.crash_worker(scenario.task_id)


async def _restart(scenario: Scenario) -> None:
    raise AssertionError("performed by the scenario itself")


OPERATIONS = [
    Operation("approve", _decide(Verdict.APPROVED)),
    Operation("reject", _decide(Verdict.REJECTED)),
    Operation(
        "withdraw",
        _as_subject(
            DEV, lambda scenario: scenario.harness.engine.decisions.withdraw(DEV, scenario.task_id, "for a reason")
        ),
    ),
    Operation(
        "cancel", _as_subject(DEV, lambda scenario: scenario.harness.engine.decisions.cancel(DEV, scenario.task_id))
    ),
    Operation("expire", _expire),
    Operation("revoke", _revoke),
    Operation("lose worker", _crash_worker),
    Operation("restart", _restart),
]


@asynccontextmanager
async def open_stepped_harness(root: Path) -> AsyncIterator[SteppedHarness]:
    """Open a workspace with subjects and a configuration, and with the timeouts that the operations rely on."""
    harness = SteppedHarness(root)
    await harness.create()
    await harness.open()
    await harness.add_default_subjects(link_ttl_seconds=RETENTION_SECONDS, retention_seconds=RETENTION_SECONDS)
    seconds = TIMEOUT_HOURS * 3600
    await harness.set_policy(approval_timeout=seconds, execution_timeout=seconds, time_limit=seconds)
    yield harness
    await harness.drain()
    await harness.close()


async def restore_permissions(harness: SteppedHarness, resource: str) -> None:
    """Restore the approver's permission, which an operation may have revoked."""
    with suppress(SealyardError):
        await harness.add_rule(OWNER, resource, Action.APPROVE)


async def cancel_unfinished_tasks(harness: SteppedHarness) -> None:
    """Cancel all unfinished tasks, so that the next scenario has only its own task."""
    for status in (TaskStatus.CREATED, TaskStatus.WAITING, TaskStatus.APPROVED, TaskStatus.SCHEDULED):
        for task in list(harness.engine.repository.tasks({"status": status.value})):
            await harness.execute(ADMIN, harness.engine.decisions.cancel(DEV, task.id))
