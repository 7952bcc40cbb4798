"""Forms for device configurations, and the requests built from their answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import msgspec
from textual.content import Content

from sealyard.client.capabilities import AlgorithmInfo, Capabilities
from sealyard.model.access import (
    Action,
    ResourceType,
    SubjectKind,
    parse_subject,
    resource_type_uri,
    subject_kind,
)
from sealyard.model.algorithms import EncryptionAlgorithm, KeyPurpose, KeyType, SigningAlgorithm
from sealyard.model.device_configs import (
    DEFAULT_FORMAT,
    DEFAULT_LINK_TTL,
    DEFAULT_RETENTION_SECONDS,
    DeviceConfig,
)
from sealyard.model.errors import UsageError
from sealyard.model.formatting import format_duration, parse_duration
from sealyard.model.key_uris import KEY_NAME
from sealyard.model.requests import (
    AccessControlList,
    DeviceRequest,
    DeviceUpdate,
)
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import collect_subject_names, format_subject
from sealyard_tui.dialogs.fields import (
    Answers,
    ChoiceField,
    Choices,
    Field,
    MultiChoiceField,
    Selections,
    TextField,
    Texts,
)
from sealyard_tui.screens.devices.format import DeviceContext
from sealyard_tui.screens.devices.key_choices import KeyChoices, build_encryption_key, build_signing_key

DEFAULT_SIGNING = SigningAlgorithm.ECC_NIST_P256
DURATION_HINT = "Examples: 24h, 30d, 2w, 1h 30m"
MAX_NAME_LENGTH = 48

_USER_ACTIONS = {"use": Action.USE, "approve": Action.APPROVE}

_PURPOSES = {
    KeyPurpose.BOTH: "! packages and signing tasks; separate keys are safer",
    KeyPurpose.PACKAGE: "packages only, not signing tasks",
    KeyPurpose.DATA: "signing tasks only, not packages",
}


# ---- create


def build_create_fields(capabilities: Capabilities, context: DeviceContext, keys: KeyChoices) -> tuple[Field, ...]:
    return (
        TextField(
            name="name",
            label="Name",
            required=True,
            check=_check_name,
            hint="Lowercase letters, digits, '.', '_' and '-'",
        ),
        _build_users_field("use", "May use", context, "none (add later in Access)"),
        _build_users_field("approve", "May approve", context, "only you"),
        _build_approvals_field(1),
        TextField(name="description", label="Description"),
        *_build_algorithm_fields(
            "encryption",
            "Encryption",
            {str(algorithm): capabilities.encryption[algorithm] for algorithm in EncryptionAlgorithm},
            keys.list_encryption_keys,
            keys.format_note,
            key_hint="New key or a compatible existing one",
        ),
        *_build_algorithm_fields(
            "signing",
            "Signing",
            {str(algorithm): capabilities.signing[algorithm] for algorithm in SigningAlgorithm},
            keys.list_signing_keys,
            keys.format_note,
            value=DEFAULT_SIGNING,
            key_hint="New key or a compatible existing one; generating a long RSA key takes seconds",
        ),
        ChoiceField(
            name="purpose",
            label="Key purpose",
            choices=_build_choices(KeyPurpose),
            value=KeyPurpose.BOTH,
            note=_describe_purpose,
        ),
        *_build_term_fields(capabilities.formats, DEFAULT_LINK_TTL, DEFAULT_RETENTION_SECONDS, DEFAULT_FORMAT),
    )


def _build_algorithm_fields(
    name: str,
    label: str,
    algorithms: Mapping[str, AlgorithmInfo],
    list_keys: Callable[[tuple[KeyType, ...]], Choices],
    format_note: Callable[[str], Content],
    *,
    value: str = "",
    key_hint: str,
) -> tuple[ChoiceField, ChoiceField]:
    """Return the fields for choosing an algorithm and a key that is compatible with it."""

    def key_choices(texts: Texts) -> Choices:
        info = algorithms.get(texts.get(name, ""))
        return list_keys(info.key_kinds if info is not None else ())

    return (
        ChoiceField(
            name=name,
            label=label,
            choices=_build_choices(algorithms),
            value=value,
            note=lambda algorithm: _format_caveats(algorithms[algorithm]),
            hint="{key[form.previous_choice]}/{key[form.next_choice]}: change, {key[form.choose]}: choose from list",
        ),
        ChoiceField(name=f"{name}_key", label=f"{label} key", choices=key_choices, hint=key_hint, note=format_note),
    )


def build_device_request(answers: Answers) -> DeviceRequest:
    texts = answers.texts
    return DeviceRequest(
        name=texts["name"],
        description=texts["description"],
        encryption_keys=(build_encryption_key(EncryptionAlgorithm(texts["encryption"]), texts["encryption_key"]),),
        signing_keys=(build_signing_key(SigningAlgorithm(texts["signing"]), texts["signing_key"]),),
        purpose=KeyPurpose(texts["purpose"]),
        use=_parse_users("use", answers),
        approve=_parse_users("approve", answers),
        approvals_required=parse_whole_number(texts["approvals"]),
        link_ttl_seconds=parse_duration(texts["link"]),
        retention_seconds=parse_duration(texts["retention"]),
        format=texts["format"],
    )


def _format_caveats(info: AlgorithmInfo) -> Content:
    return Content.styled("\n".join(f"! {each}" for each in info.caveats), "$warning")


def _describe_purpose(value: str) -> Content:
    purpose = KeyPurpose(value)
    return Content.styled(_PURPOSES[purpose], "$warning" if purpose is KeyPurpose.BOTH else "$text-muted")


def _build_choices(names: Iterable[str]) -> Choices:
    return tuple((str(each), str(each)) for each in names)


def _build_users_field(name: str, label: str, context: DeviceContext, empty_label: str) -> Field:
    """Return a field for choosing subjects, or a text field if the user has no permission to list subjects."""
    if context.access is None:
        return TextField(
            name=name,
            label=label,
            check=_parse_subjects,
            hint=f"USER:anna GROUP:owners, separated by spaces; if empty: {empty_label}",
        )
    candidates = _list_candidates(context.access, _USER_ACTIONS[name])
    names = collect_subject_names(context.access.subjects)

    def choices(selections: Selections) -> Choices:
        """Return the candidates, with those that are selected in the other field last."""
        taken = {subject for other, selection in selections.items() if other != name for subject in selection}
        return tuple(
            (subject, format_subject(subject, names)) for subject in sorted(candidates, key=taken.__contains__)
        )

    return MultiChoiceField(
        name=name,
        label=label,
        choices=choices,
        value=_preselect(name, context.access),
        empty_label=empty_label,
        hint="{key[form.previous_choice]}/{key[form.next_choice]}: choose one, {key[form.choose]}: choose from list",
    )


def _list_candidates(access: AccessControlList, action: Action) -> list[str]:
    """Return the subjects that can be allowed to ``action`` packages, the most likely ones first.

    These are the subjects that already have the permission for other configurations. Administrators are last.
    """
    holders = _list_holders(access, action)
    administrators = {
        rule.subject
        for rule in access.rules
        if rule.action is Action.CREATE and rule.resource == resource_type_uri(ResourceType.ACL)
    }
    subjects = (
        subject.id
        for subject in access.active_subjects
        if action is Action.USE or subject_kind(subject.id) is not SubjectKind.CLIENT
    )
    return sorted(subjects, key=lambda subject: (subject not in holders, subject in administrators))


def _preselect(name: str, access: AccessControlList) -> tuple[str, ...]:
    """Return the only subject with the permission for other configurations. Selects none if several have it.

    A subject is not preselected for both permissions, because requesters cannot approve their own tasks.
    """
    holders = _list_holders(access, _USER_ACTIONS[name])
    other_holders = _list_holders(access, Action.USE) if name == "approve" else set()
    return tuple(holders) if len(holders) == 1 and holders != other_holders else ()


def _list_holders(access: AccessControlList, action: Action) -> set[str]:
    """Return the active subjects that have the permission for a configuration by a rule of their own."""
    active_subjects = {subject.id for subject in access.active_subjects}
    return {rule.subject for rule in access.rules if rule.action is action} & active_subjects


def _parse_users(name: str, answers: Answers) -> tuple[str, ...]:
    return answers.selections[name] if name in answers.selections else _parse_subjects(answers.texts[name])


def _parse_subjects(text: str) -> tuple[str, ...]:
    return tuple(parse_subject(each) for each in text.replace(",", " ").split())


def _check_name(text: str) -> None:
    if not KEY_NAME.fullmatch(text) or len(text) > MAX_NAME_LENGTH:
        raise UsageError(
            f"Up to {MAX_NAME_LENGTH} lowercase letters, digits, '.', '_' and '-'.", "Example: gateway-v2."
        )


# ---- update


def build_update_fields(device: DeviceConfig, formats: tuple[str, ...]) -> tuple[Field, ...]:
    return (
        _build_approvals_field(device.approvals_required),
        *_build_term_fields(formats, device.link_ttl_seconds, device.retention_seconds, device.format),
        TextField(name="description", label="Description", value=device.description),
    )


def build_device_update(device: DeviceConfig, answers: Answers) -> DeviceUpdate:
    """Build an update in which unchanged attributes are None. Raises :class:`UsageError` for invalid answers."""
    texts = answers.texts
    update = DeviceUpdate(
        config=device.id,
        approvals_required=parse_whole_number(texts["approvals"]),
        format=texts["format"],
        link_ttl_seconds=_parse_duration(texts["link"], device.link_ttl_seconds),
        retention_seconds=_parse_duration(texts["retention"], device.retention_seconds),
        description=texts["description"],
    )
    unchanged_fields = {
        name: None
        for name in ("approvals_required", "format", "link_ttl_seconds", "retention_seconds", "description")
        if getattr(update, name) == getattr(device, name)
    }
    return msgspec.structs.replace(update, **unchanged_fields)


def _parse_duration(text: str, old_seconds: int) -> int:
    """Parse a duration, and return it in seconds.

    Returns ``old_seconds`` if the text is unchanged, because the initial text contains only the two largest units.
    """
    return old_seconds if text == format_duration(old_seconds) else parse_duration(text)


def _build_approvals_field(approvals: int) -> TextField:
    return TextField(
        name="approvals",
        label="Approvals needed",
        value=str(approvals),
        required=True,
        check=parse_whole_number,
        hint="Approvals required (requesters cannot approve their own)",
    )


def _build_term_fields(
    formats: tuple[str, ...], link_ttl: int, retention: int, container_format: str
) -> tuple[Field, ...]:
    return (
        TextField(
            name="link",
            label="Link time",
            value=format_duration(link_ttl),
            required=True,
            check=parse_duration,
            hint=f"How long a result can be downloaded. {DURATION_HINT}",
        ),
        TextField(
            name="retention",
            label="Retention",
            value=format_duration(retention),
            required=True,
            check=parse_duration,
            hint=f"How long a result is kept after the task is DONE. {DURATION_HINT}",
        ),
        ChoiceField(
            name="format",
            label="Container format",
            choices=_build_choices(dict.fromkeys((*formats, container_format))),
            value=container_format,
        ),
    )


def parse_whole_number(text: str) -> int:
    """Parse a whole number of up to six digits. Raises :class:`UsageError` for invalid text."""
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise UsageError(f"Invalid number {escape_text(text, 20)!r}.", "Enter a whole number.")
    return int(text)


# ---- files


def build_certificate_file_name(name: str) -> str:
    """Return the name of the PEM file for a certificate with a label such as ``local:gateway-signing v1``."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name.partition(":")[2] or name).strip("-.") or "certificate"
    return plain if plain.endswith(".pem") else f"{plain}.pem"
