"""Formatting of device configurations: their versions, their keys, and the subjects with permissions on them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from msgspec import UNSET
from textual.content import Content

from sealyard.model.access import Action, Permission, ResourceType, device_resource, is_allowed, resource_type_uri
from sealyard.model.base import FrozenStruct
from sealyard.model.capability_format import format_capabilities, format_wrapping
from sealyard.model.certificate_validity import CertificateStatus, certificate_status, certificate_warnings
from sealyard.model.device_configs import DeviceConfig, EncryptionKey, SigningKey
from sealyard.model.formatting import format_chain, format_count, format_duration, format_issuer, format_time
from sealyard.model.keys import KeyInfo, KeyVersion
from sealyard.model.requests import AccessControlList, DeviceUpdate
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import SubjectNames, format_subject
from sealyard_tui.formatting import format_fields, safe_content
from sealyard_tui.text_layout import format_warnings, join_lines, summarize_warnings

Field = tuple[str, Content | str]


class DeviceContext(FrozenStruct, frozen=True, kw_only=True):
    """Additional data for formatting configurations.

    ``permissions``: the permissions of the current user. ``keys``: all keys. ``access``: the access control list.
    ``keys`` and ``access`` are None if the user may not view them. ``names``: display names by subject.
    """

    permissions: tuple[Permission, ...] = ()
    keys: tuple[KeyInfo, ...] | None = None
    access: AccessControlList | None = None
    names: SubjectNames = {}

    def find_key(self, uri: str) -> KeyInfo | None:
        return next((each for each in self.keys or () if each.uri == uri), None)


def is_local(uri: str) -> bool:
    """Return whether the key is stored in the workspace, not in a token or key service."""
    return uri.startswith("local:")


def can_wrap(key: KeyInfo) -> bool:
    """Return whether the key can wrap local keys."""
    return not is_local(key.uri) and key.capabilities is not UNSET and key.capabilities.can_wrap


def list_keys(device: DeviceConfig) -> tuple[EncryptionKey | SigningKey, ...]:
    return device.keys


def format_heading(device: DeviceConfig, latest_version: int) -> Content:
    outdated_note = Content.styled(f"  ! newest version: {latest_version}", "$warning")
    return Content.assemble(
        Content.styled(escape_text(device.name), "bold"),
        f"  version {device.version} of {latest_version}",
        outdated_note if device.version < latest_version else Content(""),
    )


def format_detail(
    device: DeviceConfig,
    latest_version: int,
    context: DeviceContext,
    now: datetime,
    keys: Mapping[str, str],
    width: int,
) -> Content:
    """Format all details of a configuration version.

    ``keys``: the keyboard key bound to each action. ``width``: width of the text in cells.
    """
    creator = escape_text(format_subject(device.created_by, context.names))
    fields: list[Field] = [
        ("description", safe_content(device.description)),
        ("id", safe_content(device.id)),
        ("created", f"{format_time(device.created_at)} by {creator}"),
        ("format", safe_content(device.format)),
        ("approvals", _format_approvals(device)),
        ("link time", f"{format_duration(device.link_ttl_seconds)}: how long a result can be downloaded"),
        ("retention", f"{format_duration(device.retention_seconds)}: how long a result is kept after the task is DONE"),
        ("", " "),
    ]
    is_latest = device.version == latest_version
    for index, encryption in enumerate(device.encryption_keys):
        label = "encryption (if named)" if index else "encryption"
        fields += _build_key_fields("encryption", label, encryption, context, keys, is_latest=is_latest)
    for index, signing in enumerate(device.signing_keys):
        label = "signing (not used)" if index else "signing"
        fields += _build_key_fields("signing", label, signing, context, keys, is_latest=is_latest)
        fields += _build_certificate_fields(device, signing, context, now, keys)
    fields += [
        ("", " "),
        *_build_permission_fields(device, context),
        ("your permissions", _format_own_permissions(device, context)),
    ]
    lines = [format_heading(device, latest_version)]
    warnings = [escape_text(each) for each in device.warnings]
    if warnings:
        lines.append(summarize_warnings(warnings, width))
    lines += [Content(""), format_fields(fields, width=width)]
    if warnings:
        lines += [Content(""), format_warnings(warnings, width)]
    return join_lines(lines)


def _format_approvals(device: DeviceConfig) -> str:
    count = device.approvals_required
    return f"{format_count(count, 'approval')} required; requesters cannot approve their own tasks"


def _build_key_fields(
    role: str,
    label: str,
    key: EncryptionKey | SigningKey,
    context: DeviceContext,
    keys: Mapping[str, str],
    *,
    is_latest: bool,
) -> list[Field]:
    info = context.find_key(key.uri)
    version = info.version(key.version) if info is not None else None
    fields: list[Field] = [
        (label, Content.styled(key.algorithm, "bold")),
        ("name", safe_content(key.name)),
        (f"{role} key", _format_key(key, info, keys, is_latest=is_latest)),
        ("", safe_content(key.description)),
    ]
    if version is not None:
        fields += [("", escape_text(format_wrapping(version))), ("fingerprint", version.fingerprint)]
    if info is not None and not is_local(info.uri):
        fields += [("", escape_text(line)) for line in format_capabilities(info)]
    return fields


def _build_certificate_fields(
    device: DeviceConfig, key: SigningKey, context: DeviceContext, now: datetime, keys: Mapping[str, str]
) -> list[Field]:
    chain = device.find_chain(key)
    info = context.find_key(key.uri)
    version = info.version(key.version) if info is not None else None
    if version is None:
        return [("certificate", format_chain(chain.certificates))] if chain is not None else []
    expiry = format_certificate_expiry(version, now, keys)
    if chain is None:
        return [("certificate expires", expiry)]
    subject = escape_text(chain.certificates[0].subject)
    return [
        ("certificate", f"{subject}, {format_issuer(chain.certificates)}"),
        ("certificate expires", expiry),
    ]


def _format_key(
    key: EncryptionKey | SigningKey, info: KeyInfo | None, keys: Mapping[str, str], *, is_latest: bool
) -> Content:
    text = f"{escape_text(key.uri)} version {key.version}"
    if info is None:
        return Content(text)
    version = info.version(key.version)
    details = [info.kind, f"for {info.purpose}", *([version.origin] if version is not None else [])]
    current_version = info.current.version
    is_outdated = is_latest and current_version > key.version
    new_version_key = keys["devices.new_version"]
    rotation_note = (
        f"\n! key version {current_version} is available; press {new_version_key} to use it in a new version"
        if is_outdated
        else ""
    )
    return Content.assemble(
        text,
        Content.styled(f" ({escape_text(', '.join(details))})", "$text-muted"),
        Content.styled(rotation_note, "$warning"),
    )


def format_certificate_expiry(version: KeyVersion, now: datetime, keys: Mapping[str, str]) -> Content:
    """Return when the certificate of a key version expires, with advice if necessary; empty if it has no certificate.

    ``keys``: the keyboard key bound to each action.
    """
    expires_at = version.certificate_expires_at
    if expires_at is None:
        return Content("")
    # Rotation would replace an imported or renewed certificate with a self-signed one.
    import_advice = f"import a renewed certificate ({keys['devices.import_certificate']})"
    advice = f"rotate the key ({keys['devices.rotate']})" if version.is_generated else import_advice
    match certificate_status(version, now):
        case CertificateStatus.EXPIRED:
            return Content.styled(f"✗ {format_time(expires_at)}: expired; {advice}", "$error")
        case CertificateStatus.EXPIRING:
            left = format_duration(int((expires_at - now).total_seconds()))
            return Content.styled(f"! {format_time(expires_at)}: in {left}; {advice}", "$warning")
        case CertificateStatus.NOT_YET_VALID:
            return Content.styled(f"✗ {format_time(expires_at)}; not yet valid", "$error")
        case CertificateStatus.VALID:
            return Content(format_time(expires_at))


def format_warning_count(device: DeviceConfig, context: DeviceContext, now: datetime) -> Content:
    """Return the number of warnings of a configuration; empty if there are none.

    The number has the error color if a certificate of a signing key is not valid or expires soon.
    """
    if not device.warnings:
        return Content("")
    is_severe = any(_needs_attention(each, context, now) for each in device.signing_keys)
    return Content.styled(f"!{len(device.warnings)}", "$error" if is_severe else "$warning")


def _needs_attention(key: SigningKey, context: DeviceContext, now: datetime) -> bool:
    info = context.find_key(key.uri)
    version = info.version(key.version) if info is not None else None
    return info is not None and version is not None and bool(certificate_warnings(info, version, now))


def _build_permission_fields(device: DeviceConfig, context: DeviceContext) -> list[Field]:
    if context.access is None:
        return []
    return [
        ("may use", _format_holders(device, context.access, context.names, Action.USE)),
        ("may approve", _format_holders(device, context.access, context.names, Action.APPROVE)),
    ]


def _format_holders(device: DeviceConfig, access: AccessControlList, names: SubjectNames, action: Action) -> Content:
    resource, type_resource = device_resource(device.id), resource_type_uri(ResourceType.DEVICE_CONFIG)
    holders = [
        _format_with_members(each.subject, access, names)
        + (" (all configurations)" if each.resource == type_resource else "")
        for each in access.rules
        if each.action is action and each.resource in (resource, type_resource)
    ]
    return Content(", ".join(holders)) if holders else Content.styled("! none", "$warning")


def _format_with_members(subject: str, access: AccessControlList, names: SubjectNames) -> str:
    members = [escape_text(format_subject(each.member, names)) for each in access.memberships if each.group == subject]
    text = escape_text(format_subject(subject, names))
    return f"{text} [{', '.join(members)}]" if members else text


def _format_own_permissions(device: DeviceConfig, context: DeviceContext) -> str:
    resource = device_resource(device.id)
    actions = [
        each
        for each in (Action.USE, Action.APPROVE, Action.UPDATE, Action.EXPORT)
        if is_allowed(context.permissions, each, resource)
    ]
    return ", ".join(actions) or "VIEW"


def format_changes(device: DeviceConfig, update: DeviceUpdate, context: DeviceContext) -> list[str]:
    """Return the changes that ``update`` makes to ``device``, one line of safe text each. Includes new key versions."""
    durations = (
        ("link time", device.link_ttl_seconds, update.link_ttl_seconds),
        ("retention", device.retention_seconds, update.retention_seconds),
    )
    values: list[tuple[str, str, str | None]] = [
        ("approvals", str(device.approvals_required), _format_optional_number(update.approvals_required)),
        ("format", device.format, update.format),
        *(
            (name, format_duration(old_value), _format_optional_duration(new_value))
            for name, old_value, new_value in durations
        ),
        ("description", _quote(device.description) or "", _quote(update.description)),
    ]
    changes = [f"{name}: {old_value} → {new_value}" for name, old_value, new_value in values if new_value is not None]
    for key in list_keys(device):
        info = context.find_key(key.uri)
        if info is not None and info.current.version != key.version:
            changes.append(f"{key.uri}: version {key.version} → {info.current.version}")
    return [escape_text(each) for each in changes]


def _format_optional_number(value: int | None) -> str | None:
    return str(value) if value is not None else None


def _format_optional_duration(seconds: int | None) -> str | None:
    return format_duration(seconds) if seconds is not None else None


def _quote(text: str | None) -> str | None:
    return None if text is None else f"“{text}”" if text else "(none)"
