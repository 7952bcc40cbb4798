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
    "From now on, requesters can approve their own new tasks without a second person. Earlier tasks still "
    "need other approvers. Results are marked TRIAL and must not be released."
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
            "Add a user, group or client",
            (
                TextField(
                    name="subject",
                    label="Subject",
                    required=True,
                    check=parse_subject,
                    hint="anna or USER:anna, GROUP:owners, CLIENT:ci",
                ),
                TextField(name="display", label="Display name", hint="Shown in place of the id (optional)"),
            ),
            self._added_subject,
            draft=self._drafts["subject"],
            about="A user, group or machine client. It has no permissions until you add a rule.",
            submit_label="Add",
        )
        self._screen.app.push_screen(form)

    async def _added_subject(self, answers: Answers) -> bool:
        subject = parse_subject(answers.texts["subject"])
        created = await (await self._screen.client()).add_subject(subject, answers.texts["display"])
        acting = "; press P to act as this user" if subject_kind(created.id) is SubjectKind.USER else ""
        await self._reload_and_select(created.id, f"Added {created.id}. Press + to grant permissions{acting}")
        return True

    # ---- groups

    def add_member(self, row: AccessRow | None) -> None:
        """Ask for a membership. ``row`` is the current row; its group or user is preselected."""
        here = row.item.group if row is not None and isinstance(row.item, Membership) else row.subject if row else ""
        form = FormDialog(
            "Add a member to a group",
            (
                ChoiceField(name="group", label="Group", choices=self._subjects(groups=True), value=here),
                ChoiceField(name="member", label="Member", choices=self._subjects(groups=False), value=here),
            ),
            self._added_member,
            draft=self._drafts[f"member/{here}"],
            about="A member has all permissions of its group. Groups can be members of other groups.",
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
        await self._reload_and_select(done.id, f"Added {member} to {group}")
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
            "Grant a permission",
            (
                ChoiceField(
                    name="subject",
                    label="Subject",
                    choices=self._subjects(groups=False),
                    value=row.subject if row is not None else "",
                    hint="Enter: choose from list (type to filter)",
                ),
                ChoiceField(
                    name="resource",
                    label="Resource",
                    choices=resources(self._names()),
                    hint="One device configuration, or all resources of a type",
                ),
                ChoiceField(
                    name="action",
                    label="Permission",
                    choices=lambda texts: tuple((each, each) for each in allowed_actions(texts["resource"])),
                    hint="Actions valid for this resource. Each implies VIEW.",
                ),
            ),
            self._added_rule,
            draft=self._drafts["rule"],
            submit_label="Grant",
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
        await self._reload_and_select(done.id, f"Granted {done.action} to {done.subject}")
        return True

    # ---- removal

    async def remove(self, row: AccessRow) -> None:
        heading = "Remove a member" if isinstance(row.item, Membership) else "Remove a rule"
        question = ConfirmDialog(heading, removal_impact(row), yes="Remove", no="Back")
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
            about = f"{escape_text(error.message)}\n\nPending tasks would be marked and stay pending."
        dialog = TypedConfirmDialog("Too few approvers left", about, CONFIRM_BREAK, submit_label="Continue")
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
            ("execution_timeout", "Execution period", "How long an approved task waits for a worker"),
            ("time_limit", "Time limit", "How long a task may run, over all attempts"),
        )
        trial = ChoiceField(
            name="trial",
            label="Self-approval",
            choices=((OFF, OFF), (ON, "on (trial)")),
            value=ON if policy.allow_self_approval else OFF,
            hint="Available only in demo workspaces",
            note=lambda chosen: Content.styled(f"! {SELF_APPROVAL_WARNING}" if chosen == ON else "", "$error"),
        )
        one_time = ChoiceField(
            name="one_time",
            label="One-time password",
            choices=((OFF, OFF), (ON, "on: required for each approval")),
            value=ON if policy.require_otp else OFF,
            hint="Each approver sets up an authenticator: sealyard otp enroll",
        )
        form = FormDialog(
            "Policy",
            (
                MultiChoiceField(
                    name="kinds",
                    label="Require approval for",
                    choices=tuple((each, each) for each in TaskKind),
                    value=policy.requires_approval,
                    empty_label="none: keys are used without approval",
                    hint="Task types that require approval. Enter: choose from list",
                ),
                *(
                    TextField(
                        name=name,
                        label=label,
                        value=format_duration(getattr(policy, name)),
                        required=True,
                        check=parse_duration,
                        hint=f"{hint}, such as 90m, 24h or 30d",
                    )
                    for name, label, hint in spans
                ),
                one_time,
                *((trial,) if self._screen.state.demo else ()),
            ),
            lambda answers: self._set_policy(policy, answers),
            draft=self._drafts["policy"],
            about="Applies to new tasks only.",
            submit_label="Save",
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
                "Self-approval trial", SELF_APPROVAL_WARNING, CONFIRM_SELF_APPROVAL, submit_label="Enable"
            )
            typed = await self._screen.app.push_screen_wait(dialog)
            if not typed:
                return False
        client = await self._screen.client()
        await client.set_policy(wanted)
        await self._reload_and_select("", "Saved the policy")
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
            f"approval required for {', '.join(policy.requires_approval) or 'nothing'}",
            f"approval period      {format_duration(policy.approval_timeout)}: how long a task waits for its approvals",
            f"execution period     {format_duration(policy.execution_timeout)}: how long it waits for a worker",
            f"time limit           {format_duration(policy.time_limit)}: how long it may run, over all attempts",
            f"self-approval trial  {'ON: do not release results' if policy.allow_self_approval else 'off'}",
            f"one-time password    {'on: required for each approval' if policy.require_otp else 'off'}",
            "",
            "UPDATE permission on the policy is required to change it.",
        )
    )
