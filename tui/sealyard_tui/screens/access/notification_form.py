"""The form for adding a notification target: an e-mail address or a chat channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sealyard.client.protocol import Client
from sealyard.model.access import Action, ResourceType, Subject, SubjectKind, resource_type_uri, subject_kind
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
from sealyard.model.notification_address import parse_email, parse_notification_address
from sealyard.model.notifications import DEFAULT_EVENTS, NotificationEvent, NotificationTargetRequest, TargetKind
from sealyard.model.subject_names import format_subject
from sealyard_tui.dialogs.fields import Answers, ChoiceField, Choices, Field, MultiChoiceField, TextField, Texts
from sealyard_tui.dialogs.form import FormDialog, FormDraft, Submit
from sealyard_tui.session.state import SessionState

KIND_CHOICES = ((TargetKind.EMAIL.value, "E-mail address"), (TargetKind.CHAT.value, "Chat channel"))
YOU, TEAM = "", "team"
ALL_DEVICES = ""

_EVENT_LABELS: Mapping[NotificationEvent, str] = {
    NotificationEvent.WAITING: "a request waits for approval",
    NotificationEvent.REMINDER: "half of its approval period has passed",
    NotificationEvent.ESCALATION: "its approval period ends soon",
    NotificationEvent.DECISION: "a request is approved or rejected",
    NotificationEvent.FAILURE: "a task fails or is cancelled",
    NotificationEvent.CERTIFICATE: "a signing certificate expires soon",
}


class TargetOptions(FrozenStruct, frozen=True, kw_only=True):
    """Who can be notified, and of which requests. ``devices``: pairs of id and name of device configurations."""

    devices: Choices
    subjects: tuple[Subject, ...] = ()
    may_manage_all: bool = False


async def load_target_options(client: Client, state: SessionState) -> TargetOptions:
    """Load the options of the user. Only an administrator may add targets of others and of teams."""
    devices = tuple((device.id, device.name) for device in await client.devices())
    may_manage_all = state.is_allowed(Action.UPDATE, resource_type_uri(ResourceType.POLICY))
    # Without permission, the request would be rejected, and every rejection is recorded in the audit log.
    can_view_access = state.is_allowed(Action.VIEW, resource_type_uri(ResourceType.ACL))
    subjects = (await client.access()).subjects if may_manage_all and can_view_access else ()
    others = (
        subject
        for subject in subjects
        if subject_kind(subject.id) is SubjectKind.USER and subject.is_active and subject.id != state.identity
    )
    return TargetOptions(devices=devices, subjects=tuple(others), may_manage_all=may_manage_all)


def build_target_form(kind: TargetKind, options: TargetOptions, submit: Submit, draft: FormDraft) -> FormDialog:
    """Return the form for a target of ``kind``. ``draft`` keeps unsubmitted input."""
    names = {subject.id: subject.display_name for subject in options.subjects if subject.display_name}
    people = tuple((subject.id, format_subject(subject.id, names)) for subject in options.subjects)
    owner_field = ChoiceField(
        name="owner",
        label="Notify",
        choices=((YOU, "you"), *(((TEAM, "the team of a configuration"),) if options.devices else ()), *people),
        hint="Who receives the messages. {key[form.choose]}: choose from list",
    )
    fields: Sequence[Field] = (
        _address_field(kind),
        *((owner_field,) if options.may_manage_all else ()),
        ChoiceField(
            name="device",
            label="Requests for",
            choices=lambda texts: _device_choices(options, texts),
            hint="The device configurations whose requests are announced",
        ),
        MultiChoiceField(
            name="events",
            label="Events",
            choices=tuple((event.value, label) for event, label in _EVENT_LABELS.items()),
            value=tuple(event.value for event in DEFAULT_EVENTS),
            empty_label="the usual ones: requests and reminders",
            hint="{key[form.choose]}: choose from list",
        ),
    )
    heading = "Add an e-mail address" if kind is TargetKind.EMAIL else "Add a chat channel"
    return FormDialog(heading, fields, submit, draft=draft, submit_label="Add")


def build_target_request(answers: Answers, identity: str) -> NotificationTargetRequest:
    """Return the request for the answers of the form. ``identity``: the id of the user."""
    owner = answers.texts.get("owner", YOU)
    return NotificationTargetRequest(
        address=answers.texts["address"],
        subject={YOU: identity, TEAM: ""}.get(owner, owner),
        device_config=answers.texts["device"],
        events=tuple(NotificationEvent(event) for event in answers.selections["events"]),
    )


def _address_field(kind: TargetKind) -> TextField:
    if kind is TargetKind.EMAIL:
        return TextField(
            name="address", label="E-mail address", required=True, check=parse_email, hint="anna@example.org"
        )
    return TextField(
        name="address",
        label="Channel URL",
        required=True,
        is_masked=True,
        check=_check_channel,
        hint="Apprise URL, a secret: slack://TokenA/TokenB/TokenC/#channel",
    )


def _check_channel(text: str) -> None:
    if parse_notification_address(text).kind is not TargetKind.CHAT:
        raise UsageError("This is an e-mail address.", "Enter the Apprise URL of a chat channel.")


def _device_choices(options: TargetOptions, texts: Texts) -> Choices:
    if texts.get("owner") == TEAM:
        return options.devices
    return ((ALL_DEVICES, "all device configurations"), *options.devices)
