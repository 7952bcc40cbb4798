"""First steps in a new workspace: which are done, and how to do the next one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum

from textual.content import Content
from textual.widgets import Static

from sealyard.client.protocol import Client
from sealyard.model.access import (
    Action,
    ResourceType,
    SubjectKind,
    resource_type_uri,
    subject_kind,
)
from sealyard.model.base import FrozenStruct
from sealyard.model.requests import AccessControlList, TaskCounts
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import format_subject_name
from sealyard.model.tasks import TaskStatus
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.session.state import SessionState

FINISHED_STATUSES = (TaskStatus.SCHEDULED, TaskStatus.RUNNING, TaskStatus.DONE, TaskStatus.FAILED)
"""Statuses of tasks that have been approved."""


class Step(StrEnum):
    """A step that a workspace needs until its first package is released, in this order."""

    PEOPLE = "Add people: a developer and a product owner"
    DEVICE = "Create a device configuration"
    UPLOAD = "Upload firmware and request a package"
    APPROVE = "Approve the package"


_SHORT_NAMES = {Step.PEOPLE: "people", Step.DEVICE: "device", Step.UPLOAD: "upload", Step.APPROVE: "approve"}

_KEYS = {
    Step.PEOPLE: "press {key[app.access]}, then {key[access.add_subject]}",
    Step.DEVICE: "press {key[app.devices]}, then {key[devices.create]}",
    Step.UPLOAD: "press {key[app.upload]}",
    Step.APPROVE: "press {key[app.approvals]}",
}
"""How a user with the permission does each step."""


class FirstSteps(FrozenStruct, frozen=True, kw_only=True):
    """The steps that are done, and the subjects who may do the last two."""

    done: frozenset[Step]
    developers: tuple[str, ...] = ()
    approvers: tuple[str, ...] = ()

    @property
    def next(self) -> Step | None:
        return next((step for step in Step if step not in self.done), None)


async def load_first_steps(client: Client, state: SessionState, counts: TaskCounts) -> FirstSteps:
    """Return the first steps of the workspace, as far as the user may know them.

    ``counts``: those of the tasks that the user may view. Once a task has been approved, all steps count as done.
    """
    if any(counts.by_status.get(status) for status in FINISHED_STATUSES):
        return FirstSteps(done=frozenset(Step))
    devices = await client.devices()
    can_view_access = state.is_allowed(Action.VIEW, resource_type_uri(ResourceType.ACL))
    access = await client.access() if can_view_access else None
    has_people = bool(devices) if access is None else sum(1 for _ in _users(access)) > 1
    is_done = {
        Step.PEOPLE: has_people,
        Step.DEVICE: bool(devices),
        Step.UPLOAD: counts.total > 0,
        Step.APPROVE: False,
    }
    return FirstSteps(
        done=frozenset(step for step, done in is_done.items() if done),
        developers=_subjects_allowed(access, Action.USE),
        approvers=_subjects_allowed(access, Action.APPROVE),
    )


def _users(access: AccessControlList) -> Iterator[str]:
    return (subject.id for subject in access.subjects if subject_kind(subject.id) is SubjectKind.USER)


def _subjects_allowed(access: AccessControlList | None, action: Action) -> tuple[str, ...]:
    rules = access.rules if access is not None else ()
    return tuple(sorted({rule.subject for rule in rules if rule.action is action}))


class FirstStepsPane(Static):
    """Pane that guides through the first steps; hidden when they are done or the user has hidden it."""

    def __init__(self) -> None:
        super().__init__("", id="first-steps", markup=False)
        self.display = False
        self._steps: FirstSteps | None = None
        self._reset_count = 0

    @property
    def has_open_steps(self) -> bool:
        return self._steps is not None and self._steps.next is not None

    @property
    def is_finished(self) -> bool:
        """Whether the steps have been loaded and all of them are done."""
        return self._steps is not None and self._steps.next is None

    def reset(self) -> None:
        """Forget the steps, which depend on the user."""
        self._steps = None
        self._reset_count += 1
        self.display = False

    async def load(self, client: Client, state: SessionState, counts: TaskCounts, *, is_hidden: bool) -> None:
        """Load and show the steps, in one line if there are tasks.

        ``counts``: those of the tasks that the user may view. ``is_hidden``: whether the user has hidden the pane. The
        caller must not call this method again before it returns, unless it has called :meth:`reset`.
        """
        if self.is_finished:
            return
        reset_count = self._reset_count
        steps = await load_first_steps(client, state, counts)
        if reset_count != self._reset_count:
            return
        self._steps = steps
        self.display = self.has_open_steps and not is_hidden
        if self.display:
            lines = [self._format_line(steps)] if counts.total else list(self._format_lines(steps, state))
            self.update(Content("\n").join(lines))

    def _format_line(self, steps: FirstSteps) -> Content:
        marks = (_format_step(step, steps, _SHORT_NAMES[step]) for step in Step)
        how = f"  ({insert_keys(self.app, _KEYS[steps.next])})" if steps.next is not None else ""
        return Content.assemble(("First steps  ", "bold"), Content("  ").join(marks), (how, "$text-muted"))

    def _format_lines(self, steps: FirstSteps, state: SessionState) -> Iterable[Content]:
        hint = insert_keys(self.app, "  {key[dashboard.first_steps]} hides this")
        yield Content.assemble(("First steps", "bold"), (hint, "$text-muted"))
        for step in Step:
            line = _format_step(step, steps, f"{[*Step].index(step) + 1}. {step}")
            how = f"  {self._format_hint(step, steps, state)}" if step is steps.next else ""
            yield Content.assemble("  ", line, (how, "$accent"))

    def _format_hint(self, step: Step, steps: FirstSteps, state: SessionState) -> str:
        if can_do(step, state):
            return insert_keys(self.app, _KEYS[step])
        subjects = {Step.UPLOAD: steps.developers, Step.APPROVE: steps.approvers}.get(step, ())
        others = [subject for subject in subjects if subject != state.identity]
        if not others:
            return "ask an administrator" if step in (Step.PEOPLE, Step.DEVICE) else "another user does this"
        name = escape_text(format_subject_name(others[0], state.subject_names))
        if state.host:
            return f"{name} does this"
        return f"{insert_keys(self.app, 'press {key[app.profile]} to act as')} {name}"


def can_do(step: Step, state: SessionState) -> bool:
    """Return whether the user may do the step."""
    match step:
        case Step.PEOPLE:
            return state.is_allowed(Action.CREATE, resource_type_uri(ResourceType.SUBJECT))
        case Step.DEVICE:
            return state.is_allowed(Action.CREATE, resource_type_uri(ResourceType.DEVICE_CONFIG))
        case Step.UPLOAD:
            return any(action is Action.USE for _, action in state.rights)
        case Step.APPROVE:
            return state.awaiting_my_approval > 0


def _format_step(step: Step, steps: FirstSteps, text: str) -> Content:
    if step in steps.done:
        return Content.styled(f"✓ {text}", "$text-muted")
    return Content.styled(f"▸ {text}", "bold") if step is steps.next else Content(f"○ {text}")
