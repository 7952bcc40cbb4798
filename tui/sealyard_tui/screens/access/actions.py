"""Actions of the access control screen: forms, confirmations, and requests to the engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
from textual.content import Content

from sealyard.client.protocol import Client
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
from sealyard.model.subject_names import collect_subject_names, format_subject
from sealyard.model.tasks import TaskKind
from sealyard_tui.action_keys import insert_keys
from sealyard_tui.dialogs.confirm import ConfirmDialog, TypedConfirmDialog
from sealyard_tui.dialogs.fields import Answers, ChoiceField, Choices, MultiChoiceField, TextField
from sealyard_tui.dialogs.form import FormDialog, FormDraft
from sealyard_tui.screens.access.rows import (
    AccessRow,
    DeviceNames,
    describe_removal,
    list_resources,
    list_valid_actions,
)
from sealyard_tui.screens.access.state_actions import SubjectStateActions
from sealyard_tui.screens.base import BaseScreen
from sealyard_tui.session.pending_changes import Change

ActionResult = TypeVar("ActionResult")

CONFIRM_NO_QUORUM = "no approvals"
"""Text that must be typed to confirm a change that leaves a configuration with too few approvers."""

CONFIRM_SELF_APPROVAL = "self-approval"
SELF_APPROVAL_WARNING = (
    "From now on, requesters can approve their own new tasks without a second person. Earlier tasks still "
    "need other approvers. Results are marked TRIAL and must not be released."
)
ON, OFF = "on", "off"
WARNING_SECONDS = 15


class AccessActions:
    """Actions on users, groups, rules, and the policy. Their forms keep unsubmitted input."""

    def __init__(
        self,
        screen: BaseScreen,
        *,
        device_names: Callable[[], DeviceNames],
        subjects: Callable[[], Sequence[Subject]],
        select_row: Callable[[str], None],
    ) -> None:
        """``device_names`` and ``subjects`` return the data loaded by the screen.

        ``select_row`` moves the cursor to the row with the given key.
        """
        self._screen = screen
        self._get_device_names = device_names
        self._get_subjects = subjects
        self._select_row = select_row
        self._drafts: defaultdict[str, FormDraft] = defaultdict(FormDraft)
        self.states = SubjectStateActions(screen, self._reload_and_select)

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
                TextField(name="display", label="Display name", hint="Shown beside the id (optional)"),
            ),
            self._submit_subject,
            draft=self._drafts["subject"],
            about="A user, group or machine client. It has no permissions until you add a rule.",
            submit_label="Add",
        )
        self._screen.app.push_screen(form)

    async def _submit_subject(self, answers: Answers) -> bool:
        subject_id = parse_subject(answers.texts["subject"])
        new_subject = await self._make_change(
            f"New subject {subject_id}", lambda client: client.add_subject(subject_id, answers.texts["display"])
        )
        hint = "Press {key[access.add_rule]} to grant permissions"
        if subject_kind(new_subject.id) is SubjectKind.USER:
            hint += "; press {key[app.profile]} to act as this user"
        self._reload_and_select(new_subject.id, f"Added {new_subject.id}. {insert_keys(self._screen.app, hint)}")
        return True

    # ---- groups

    def add_member(self, row: AccessRow | None) -> None:
        """Open a form for adding a member to a group. The group or subject of the current ``row`` is preselected."""
        subject = _get_preselected_subject(row)
        form = FormDialog(
            "Add a member to a group",
            (
                ChoiceField(
                    name="group", label="Group", choices=self._build_subject_choices(groups=True), value=subject
                ),
                ChoiceField(
                    name="member", label="Member", choices=self._build_subject_choices(groups=False), value=subject
                ),
            ),
            self._submit_member,
            draft=self._drafts[f"member/{subject}"],
            about="A member has all permissions of its group. Groups can be members of other groups.",
            submit_label="Add",
        )
        self._screen.app.push_screen(form)

    async def _submit_member(self, answers: Answers) -> bool:
        group, member = answers.texts["group"], answers.texts["member"]
        membership = await self._apply_with_confirmation(
            f"New member of {group}",
            lambda client, confirmed: client.add_member(group, member, confirmed=confirmed),
        )
        if membership is None:
            return False
        self._reload_and_select(membership.id, f"Added {self._format_subject(member)} to {self._format_subject(group)}")
        return True

    def _build_subject_choices(self, *, groups: bool) -> Choices:
        """Return the subjects as choices. ``groups``: whether to return only groups."""
        return tuple(
            (subject.id, self._format_subject(subject.id))
            for subject in self._get_subjects()
            if subject.is_active and (not groups or subject_kind(subject.id) is SubjectKind.GROUP)
        )

    def _format_subject(self, subject_id: str) -> str:
        return format_subject(subject_id, collect_subject_names(self._get_subjects()))

    # ---- rules

    def add_rule(self, row: AccessRow | None) -> None:
        """Open a form for adding a rule. The subject of the current ``row`` is preselected."""
        form = FormDialog(
            "Grant a permission",
            (
                ChoiceField(
                    name="subject",
                    label="Subject",
                    choices=self._build_subject_choices(groups=False),
                    value=row.subject if row is not None else "",
                    hint="{key[form.choose]}: choose from list (type to filter)",
                ),
                ChoiceField(
                    name="resource",
                    label="Resource",
                    choices=list_resources(self._get_device_names()),
                    hint="One device configuration, or all resources of a type",
                ),
                ChoiceField(
                    name="action",
                    label="Permission",
                    choices=lambda texts: tuple((each, each) for each in list_valid_actions(texts["resource"])),
                    hint="Actions valid for this resource. Each implies VIEW.",
                ),
            ),
            self._submit_rule,
            draft=self._drafts["rule"],
            submit_label="Grant",
            notes=self._describe_rule,
        )
        self._screen.app.push_screen(form)

    def _describe_rule(self, answers: Answers) -> Content:
        texts = answers.texts
        subject = self._format_subject(texts["subject"])
        target_label = dict(list_resources(self._get_device_names())).get(texts["resource"], "")
        return Content.styled(escape_text(f"{subject} may {texts['action']} {target_label}"), "$accent")

    async def _submit_rule(self, answers: Answers) -> bool:
        texts = answers.texts
        action = Action(texts["action"])
        rule = await self._apply_with_confirmation(
            f"New rule for {texts['subject']}",
            lambda client, confirmed: client.add_rule(texts["subject"], texts["resource"], action, confirmed=confirmed),
        )
        if rule is None:
            return False
        self._reload_and_select(rule.id, f"Granted {rule.action} to {self._format_subject(rule.subject)}")
        return True

    # ---- removal

    def remove(self, row: AccessRow) -> None:
        """Remove the subject, the rule, or the member from its group."""
        if isinstance(row.item, Subject):
            self._screen.run_opening(self.states.remove(row.item))
            return
        heading = "Remove a member" if isinstance(row.item, Membership) else "Remove a rule"
        dialog = ConfirmDialog(
            heading, describe_removal(row), yes="Remove", no="Back", action=lambda: self._submit_removal(row, heading)
        )
        self._screen.app.push_screen(dialog)

    async def _submit_removal(self, row: AccessRow, heading: str) -> bool:
        item = row.item

        async def remove(client: Client, confirmed: bool) -> AccessRow:
            if isinstance(item, Membership):
                await client.remove_member(item.group, item.member, confirmed=confirmed)
            elif isinstance(item, AclRule):
                await client.remove_rule(item.id, confirmed=confirmed)
            return row

        if await self._apply_with_confirmation(heading, remove) is None:
            return False
        self._reload_and_select("", "Removed")
        return True

    async def _apply_with_confirmation(
        self, label: str, change: Callable[[Client, bool], Awaitable[ActionResult]]
    ) -> ActionResult | None:
        """Apply ``change``, and ask the user for confirmation if the engine requires it.

        ``change`` takes the client and whether the user has confirmed. Returns its result, or None if the user did not
        confirm. ``label`` describes the change while it is pending.
        """
        try:
            return await self._make_change(label, lambda client: change(client, False))
        except ConfirmationRequiredError as error:
            about = escape_text(error.message)
        dialog = TypedConfirmDialog(
            "Too few approvers left",
            about,
            CONFIRM_NO_QUORUM,
            consequence="Pending tasks would be marked and stay pending.",
            submit_label="Continue",
        )
        if not await self._screen.app.push_screen_wait(dialog):
            return None
        return await self._make_change(label, lambda client: change(client, True))

    async def _make_change(self, label: str, call: Callable[[Client], Awaitable[ActionResult]]) -> ActionResult:
        return await self._screen.app.changes.run(Change(label=label), call)

    def _reload_and_select(self, key: str, message: str) -> None:
        """Reload the screen in the background, so that a lost connection does not keep the dialog open."""

        async def reload() -> None:
            await self._screen.load()
            self._select_row(key)
            self._screen.flash(message)

        self._screen.run_background(reload(), group="reload")

    # ---- the policy

    def change_policy(self, policy: Policy) -> None:
        duration_fields = (
            ("approval_timeout", "Approval period", "How long a task waits for its approvals"),
            ("execution_timeout", "Execution period", "How long an approved task waits for a worker"),
            ("time_limit", "Time limit", "How long a task may run, over all attempts"),
        )
        self_approval_field = ChoiceField(
            name="trial",
            label="Self-approval",
            choices=((OFF, OFF), (ON, "on (trial)")),
            value=ON if policy.allow_self_approval else OFF,
            hint="Available only in demo workspaces",
            note=lambda chosen: Content.styled(f"! {SELF_APPROVAL_WARNING}" if chosen == ON else "", "$error"),
        )
        otp_field = ChoiceField(
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
                    hint="Task types that require approval. {key[form.choose]}: choose from list",
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
                    for name, label, hint in duration_fields
                ),
                otp_field,
                *((self_approval_field,) if self._screen.state.demo else ()),
            ),
            lambda answers: self._set_policy(policy, answers),
            draft=self._drafts["policy"],
            about="Applies to new tasks only.",
            submit_label="Save",
        )
        self._screen.app.push_screen(form)

    async def _set_policy(self, policy: Policy, answers: Answers) -> bool:
        durations = {
            name: parse_duration(answers.texts[name])
            for name in ("approval_timeout", "execution_timeout", "time_limit")
            if answers.texts[name] != format_duration(getattr(policy, name))
        }
        allow_self_approval = answers.texts.get("trial", OFF) == ON
        kinds = tuple(TaskKind(each) for each in answers.selections["kinds"])
        require_otp = answers.texts["one_time"] == ON
        new_policy = msgspec.structs.replace(
            policy,
            requires_approval=kinds,
            allow_self_approval=allow_self_approval,
            require_otp=require_otp,
            **durations,
        )
        if allow_self_approval and not policy.allow_self_approval:
            dialog = TypedConfirmDialog(
                "Self-approval trial",
                "For demonstrations only.",
                CONFIRM_SELF_APPROVAL,
                consequence=SELF_APPROVAL_WARNING,
                submit_label="Enable",
            )
            if not await self._screen.app.push_screen_wait(dialog):
                return False
        await self._make_change("Policy", lambda client: client.set_policy(new_policy))
        self._reload_and_select("", "Saved the policy")
        if require_otp and not policy.require_otp:
            self._screen.run_background(self._show_warnings(), group="warnings")
        return True

    async def _show_warnings(self) -> None:
        """Show warnings about the effects of a change, for example that too few users can approve tasks."""
        for warning in (await (await self._screen.client()).workspace()).warnings:
            self._screen.notify(escape_text(warning), severity="warning", timeout=WARNING_SECONDS, markup=False)


def _get_preselected_subject(row: AccessRow | None) -> str:
    if row is None:
        return ""
    return row.item.group if isinstance(row.item, Membership) else row.subject


def format_policy(policy: Policy) -> str:
    """Return the policy as text, for users without permission to change it."""
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
