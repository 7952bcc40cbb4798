"""Actions on users, groups, rules and the policy: forms, confirmations, and requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec
from textual.content import Content

from sealyard.model.access import (
    AclRule,
    Action,
    Membership,
    Subject,
    SubjectKind,
    parse_subject,
    subject_kind,
)
from sealyard.model.errors import ConfirmationRequiredError
from sealyard.model.formatting import format_duration, parse_duration
from sealyard.model.policy import Policy
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import TaskKind
from sealyard_tui.dialogs.confirm import ConfirmDialog, TypedConfirmDialog
from sealyard_tui.dialogs.fields import Answers, ChoiceField, Choices, MultiChoiceField, TextField
from sealyard_tui.dialogs.form import FormDialog, FormDraft
from sealyard_tui.screens.access.rows import AccessRow, allowed_actions, removal_impact, resources
from sealyard_tui.screens.base import BaseScreen

ActionResult = TypeVar("ActionResult")

CONFIRM_BREAK = "no approvals"
"""Typed to confirm a change after which no quorum is possible for a configuration."""

CONFIRM_SELF_APPROVAL = "self-approval"
SELF_APPROVAL_WARNING = (
    "Whoever asks from then on can approve it alone: no second pair of eyes. What was asked for before still waits for"
    " others. Results of the trial are marked TRIAL and are not to be released."
)
ON, OFF = "on", "off"
WARNING_SECONDS = 15


class AccessActions:
    """Changes to users, groups, rules and the policy. Forms keep what was typed until it is submitted."""

    def __init__(
        self,
        screen: BaseScreen,
        *,
        names: Callable[[], Mapping[str, str]],
        subjects: Callable[[], Sequence[Subject]],
        select_row: Callable[[str], None],
    ) -> None:
        """``names`` are those of device configurations by id; ``select_row`` puts the cursor on a row by its key."""
        self._screen = screen
        self._names = names
        self._known_subjects = subjects
        self._select_row = select_row
        self._drafts: defaultdict[str, FormDraft] = defaultdict(FormDraft)

    # ---- users

    def add_subject(self) -> None:
        form = FormDialog(
            "Make somebody known",
            (
                TextField(
                    name="subject",
                    label="Who",
                    required=True,
                    check=parse_subject,
                    hint="anna or USER:anna, GROUP:owners, CLIENT:ci",
                ),
                TextField(name="display", label="Shown as", hint="A name for people to read; may be left out"),
            ),
            self._added_subject,
            draft=self._drafts["subject"],
            about="A person, a group or a machine client. Nobody can do anything before a rule says so.",
            submit_label="Add",
        )
        self._screen.app.push_screen(form)

    async def _added_subject(self, answers: Answers) -> bool:
        subject = parse_subject(answers.texts["subject"])
        created = await (await self._screen.client()).add_subject(subject, answers.texts["display"])
        acting = "; P acts as them" if subject_kind(created.id) is SubjectKind.USER else ""
        await self._reload_and_select(created.id, f"{created.id} is known now: + gives rights{acting}")
        return True

    # ---- groups

    def add_member(self, row: AccessRow | None) -> None:
        """Ask for a membership. ``row`` is the current row; its group or user is preselected."""
        here = row.item.group if row is not None and isinstance(row.item, Membership) else row.subject if row else ""
        form = FormDialog(
            "Put a member into a group",
            (
                ChoiceField(name="group", label="Group", choices=self._subjects(groups=True), value=here),
                ChoiceField(name="member", label="Member", choices=self._subjects(groups=False), value=here),
            ),
            self._added_member,
            draft=self._drafts[f"member/{here}"],
            about="A member has all the rights of its group. Groups can be inside groups.",
            submit_label="Add",
        )
        self._screen.app.push_screen(form)

    async def _added_member(self, answers: Answers) -> bool:
        group, member = answers.texts["group"], answers.texts["member"]
        client = await self._screen.client()
        done = await self._confirm_despite_impact(
            lambda confirmed: client.add_member(group, member, confirmed=confirmed)
        )
        if done is None:
            return False
        await self._reload_and_select(done.id, f"{member} is in {group} now")
        return True

    def _subjects(self, *, groups: bool) -> Choices:
        """Return the subjects as choices, or only the groups."""
        return tuple(
            (each.id, f"{each.id}  {each.display_name}".rstrip())
            for each in self._known_subjects()
            if not groups or subject_kind(each.id) is SubjectKind.GROUP
        )

    # ---- rules

    def add_rule(self, row: AccessRow | None) -> None:
        """Ask for a rule. ``row`` is the current row; its subject is preselected."""
        form = FormDialog(
            "A new rule",
            (
                ChoiceField(
                    name="subject",
                    label="Who",
                    choices=self._subjects(groups=False),
                    value=row.subject if row is not None else "",
                    hint="Enter lists them; type there to find",
                ),
                ChoiceField(
                    name="resource",
                    label="On what",
                    choices=resources(self._names()),
                    hint="One device configuration, or all resources of a type",
                ),
                ChoiceField(
                    name="action",
                    label="May",
                    choices=lambda texts: tuple((each, each) for each in allowed_actions(texts["resource"])),
                    hint="Only what means something there. Every action implies VIEW",
                ),
            ),
            self._added_rule,
            draft=self._drafts["rule"],
            submit_label="Allow it",
            notes=self._rule_words,
        )
        self._screen.app.push_screen(form)

    def _rule_words(self, answers: Answers) -> Content:
        texts = answers.texts
        on = dict(resources(self._names())).get(texts["resource"], "")
        return Content.styled(escape_text(f"{texts['subject']} may {texts['action']} {on}"), "$accent")

    async def _added_rule(self, answers: Answers) -> bool:
        texts = answers.texts
        client = await self._screen.client()
        action = Action(texts["action"])
        done = await self._confirm_despite_impact(
            lambda confirmed: client.add_rule(texts["subject"], texts["resource"], action, confirmed=confirmed)
        )
        if done is None:
            return False
        await self._reload_and_select(done.id, f"{done.subject} may {done.action} now")
        return True

    # ---- removal

    async def remove(self, row: AccessRow) -> None:
        heading = "Remove a member" if isinstance(row.item, Membership) else "Remove a rule"
        question = ConfirmDialog(heading, removal_impact(row), yes="Remove", no="Keep")
        if not await self._screen.app.push_screen_wait(question):
            return
        client = await self._screen.client()
        item = row.item

        async def remove(confirmed: bool) -> AccessRow:
            if isinstance(item, Membership):
                await client.remove_member(item.group, item.member, confirmed=confirmed)
            elif isinstance(item, AclRule):
                await client.remove_rule(item.id, confirmed=confirmed)
            return row

        if await self._confirm_despite_impact(remove) is not None:
            await self._reload_and_select("", "Removed")

    async def _confirm_despite_impact(self, change: Callable[[bool], Awaitable[ActionResult]]) -> ActionResult | None:
        """Return what ``change`` returns, after a confirmation if required; None if the user went back."""
        try:
            return await change(False)
        except ConfirmationRequiredError as error:
            about = f"{escape_text(error.message)}\n\nTasks that wait there would be marked, and stay waiting."
        dialog = TypedConfirmDialog("A quorum would break", about, CONFIRM_BREAK, act="Do it all the same")
        typed = await self._screen.app.push_screen_wait(dialog)
        return await change(True) if typed else None

    async def _reload_and_select(self, key: str, message: str) -> None:
        await self._screen.load()
        self._select_row(key)
        self._screen.flash(message)

    # ---- the policy

    def change_policy(self, policy: Policy) -> None:
        spans = (
            ("approval_timeout", "Approval period", "How long a task waits for its approvals"),
            ("execution_timeout", "Execution period", "How long it then waits for a worker"),
            ("time_limit", "Time limit", "How long it may run, over all attempts"),
        )
        trial = ChoiceField(
            name="trial",
            label="Self-approval",
            choices=((OFF, OFF), (ON, "on: a trial")),
            value=ON if policy.allow_self_approval else OFF,
            hint="In a demo workspace only",
            note=lambda chosen: Content.styled(f"! {SELF_APPROVAL_WARNING}" if chosen == ON else "", "$error"),
        )
        one_time = ChoiceField(
            name="one_time",
            label="One-time password",
            choices=((OFF, OFF), (ON, "on: each approval wants one")),
            value=ON if policy.require_otp else OFF,
            hint="Of an authenticator, which each approver enrols: sealyard otp enroll",
        )
        form = FormDialog(
            "Policy",
            (
                MultiChoiceField(
                    name="kinds",
                    label="Approval for",
                    choices=tuple((each, each) for each in TaskKind),
                    value=policy.requires_approval,
                    empty_label="no kind of task: nobody looks before keys are used",
                    hint="Kinds of tasks that people must approve; Enter lists them",
                ),
                *(
                    TextField(
                        name=name,
                        label=label,
                        value=format_duration(getattr(policy, name)),
                        required=True,
                        check=parse_duration,
                        hint=f"{hint}. As 90m, 24h, 30d",
                    )
                    for name, label, hint in spans
                ),
                one_time,
                *((trial,) if self._screen.state.demo else ()),
            ),
            lambda answers: self._set_policy(policy, answers),
            draft=self._drafts["policy"],
            about="For all new tasks. Tasks that are there keep their periods.",
            submit_label="Set it",
        )
        self._screen.app.push_screen(form)

    async def _set_policy(self, policy: Policy, answers: Answers) -> bool:
        spans = {
            name: parse_duration(answers.texts[name])
            for name in ("approval_timeout", "execution_timeout", "time_limit")
            if answers.texts[name] != format_duration(getattr(policy, name))
        }
        trial = answers.texts.get("trial", OFF) == ON
        kinds = tuple(TaskKind(each) for each in answers.selections["kinds"])
        one_time = answers.texts["one_time"] == ON
        wanted = msgspec.structs.replace(
            policy, requires_approval=kinds, allow_self_approval=trial, require_otp=one_time, **spans
        )
        if trial and not policy.allow_self_approval:
            dialog = TypedConfirmDialog(
                "Self-approval trial", SELF_APPROVAL_WARNING, CONFIRM_SELF_APPROVAL, act="Switch it on"
            )
            typed = await self._screen.app.push_screen_wait(dialog)
            if not typed:
                return False
        client = await self._screen.client()
        await client.set_policy(wanted)
        await self._reload_and_select("", "The policy is set")
        if one_time and not policy.require_otp:
            self._warn((await client.workspace()).warnings)
        return True

    def _warn(self, warnings: Sequence[str]) -> None:
        """Show warnings that follow from a change: possibly no approver is left."""
        for warning in warnings:
            self._screen.notify(escape_text(warning), severity="warning", timeout=WARNING_SECONDS, markup=False)


def format_policy(policy: Policy) -> str:
    """Return the policy as text, for users who may not change it."""
    return "\n".join(
        (
            f"approval needed for  {', '.join(policy.requires_approval) or 'nothing'}",
            f"approval period      {format_duration(policy.approval_timeout)}: how long a task waits for its approvals",
            f"execution period     {format_duration(policy.execution_timeout)}: how long it then waits for a worker",
            f"time limit           {format_duration(policy.time_limit)}: how long it may run, over all attempts",
            f"self-approval trial  {'ON: results are not to be released' if policy.allow_self_approval else 'off'}",
            f"one-time password    {'on: each approval wants one' if policy.require_otp else 'off'}",
            "",
            "To change it takes UPDATE on the policy.",
        )
    )
