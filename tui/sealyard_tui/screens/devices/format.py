"""Device configurations as text: versions, keys, and who may use and approve them."""

from __future__ import annotations

from datetime import datetime

from textual.content import Content

from sealyard.model.access import Action, Permission, ResourceType, device_resource, is_allowed, resource_type_uri
from sealyard.model.base import FrozenStruct
from sealyard.model.device_configs import DeviceConfig, EncryptionKey, SigningKey
from sealyard.model.formatting import format_count, format_duration, format_time
from sealyard.model.keys import CertificateStatus, KeyInfo, KeyVersion, certificate_status
from sealyard.model.requests import AccessControlList, DeviceUpdate
from sealyard.model.safe_text import escape_text
from sealyard_tui.formatting import format_fields, safe_content

Part = tuple[str, Content | str]


class DeviceContext(FrozenStruct, frozen=True, kw_only=True):
    """What the user may read besides the configurations; None without permission. ``rights`` are those of the user."""

    rights: tuple[Permission, ...] = ()
    keys: tuple[KeyInfo, ...] | None = None
    access: AccessControlList | None = None

    def key(self, uri: str) -> KeyInfo | None:
        return next((each for each in self.keys or () if each.uri == uri), None)


def keys_of(device: DeviceConfig) -> tuple[EncryptionKey | SigningKey, ...]:
    return (*device.encryption_keys, *device.signing_keys)


def format_heading(device: DeviceConfig, newest: int) -> Content:
    older = Content.styled(f"  ! newest version: {newest}", "$warning")
    return Content.assemble(
        Content.styled(escape_text(device.name), "bold"),
        f"  version {device.version} of {newest}",
        older if device.version < newest else Content(""),
    )


def format_detail(device: DeviceConfig, newest: int, context: DeviceContext, now: datetime, width: int) -> Content:
    """Render one version for a width in cells."""
    parts: list[Part] = [
        ("description", safe_content(device.description)),
        ("id", safe_content(device.id)),
        ("created", f"{format_time(device.created_at)} by {escape_text(device.created_by)}"),
        ("format", safe_content(device.format)),
        ("approvals", _approvals(device)),
        ("link time", f"{format_duration(device.link_ttl_seconds)}: how long a result can be downloaded"),
        ("retention", f"{format_duration(device.retention_seconds)}: how long a result is kept after the task is DONE"),
        ("", " "),
    ]
    for index, encryption in enumerate(device.encryption_keys):
        parts += _key_parts("encryption", encryption, context, now, unused=index > 0, newest=device.version == newest)
    for index, signing in enumerate(device.signing_keys):
        parts += _key_parts("signing", signing, context, now, unused=index > 0, newest=device.version == newest)
    parts += [("", " "), *_people(device, context.access), ("your rights", _own_permissions(device, context))]
    if device.warnings:
        parts.append(("", " "))
    parts += [("! warning", Content.styled(escape_text(each), "$warning")) for each in device.warnings]
    shown = Content.assemble(format_heading(device, newest), "\n\n")
    return Content.assemble(shown, format_fields(parts, width=width))


def _approvals(device: DeviceConfig) -> str:
    count = device.approvals_required
    return f"{format_count(count, 'approval')} required; requesters cannot approve their own tasks"


def _key_parts(
    what: str, key: EncryptionKey | SigningKey, context: DeviceContext, now: datetime, *, unused: bool, newest: bool
) -> list[Part]:
    info = context.key(key.uri)
    version = info.version(key.version) if info is not None else None
    label = f"{what} (not used)" if unused else what
    parts: list[Part] = [
        (label, Content.styled(key.algorithm, "bold")),
        (f"{what} key", _key_line(key, info, newest=newest)),
        ("", safe_content(key.description)),
    ]
    if version is not None:
        parts.append(("fingerprint", version.fingerprint))
        parts.append(("certificate expires", format_certificate_expiry(version, now)))
    return parts


def _key_line(key: EncryptionKey | SigningKey, info: KeyInfo | None, *, newest: bool) -> Content:
    text = f"{escape_text(key.uri)} version {key.version}"
    if info is None:
        return Content(text)
    version = info.version(key.version)
    about = [info.kind, f"for {info.purpose}", *([version.origin] if version is not None else [])]
    newer = info.current.version
    waiting = newest and newer > key.version
    rotated = f"\n! key version {newer} is available; press e to use it in a new version" if waiting else ""
    return Content.assemble(
        text,
        Content.styled(f" ({escape_text(', '.join(about))})", "$text-muted"),
        Content.styled(rotated, "$warning"),
    )


def format_certificate_expiry(version: KeyVersion, now: datetime) -> Content:
    """Return when a certificate expires; empty for a key without one."""
    ends = version.certificate_expires_at
    if ends is None:
        return Content("")
    # Rotating an imported key would replace its certificate by a self-signed one.
    advice = "import a renewed certificate" if version.origin == "imported" else "rotate the key (R)"
    match certificate_status(version, now):
        case CertificateStatus.EXPIRED:
            return Content.styled(f"✗ {format_time(ends)}: expired; {advice}", "$error")
        case CertificateStatus.EXPIRING:
            left = format_duration(int((ends - now).total_seconds()))
            return Content.styled(f"! {format_time(ends)}: in {left}; {advice}", "$warning")
        case CertificateStatus.NOT_YET_VALID:
            return Content.styled(f"✗ {format_time(ends)}; not yet valid", "$error")
        case CertificateStatus.VALID:
            return Content(format_time(ends))


def warning_sign(device: DeviceConfig, context: DeviceContext, now: datetime) -> Content:
    """Return the number of warnings, which include those of certificates, in the color of the most severe one."""
    if not device.warnings:
        return Content("")
    is_severe = any(_needs_attention(each, context, now) for each in device.signing_keys)
    return Content.styled(f"!{len(device.warnings)}", "$error" if is_severe else "$warning")


def _needs_attention(key: SigningKey, context: DeviceContext, now: datetime) -> bool:
    info = context.key(key.uri)
    version = info.version(key.version) if info is not None else None
    return version is not None and certificate_status(version, now) is not CertificateStatus.VALID


def _people(device: DeviceConfig, access: AccessControlList | None) -> list[Part]:
    if access is None:
        return []
    return [
        ("may use", _holders(device, access, Action.USE)),
        ("may approve", _holders(device, access, Action.APPROVE)),
    ]


def _holders(device: DeviceConfig, access: AccessControlList, action: Action) -> Content:
    here, everywhere = device_resource(device.id), resource_type_uri(ResourceType.DEVICE_CONFIG)
    named = [
        _with_members(each.subject, access) + (" (all configurations)" if each.resource == everywhere else "")
        for each in access.rules
        if each.action is action and each.resource in (here, everywhere)
    ]
    return Content(", ".join(named)) if named else Content.styled("! none", "$warning")


def _with_members(subject: str, access: AccessControlList) -> str:
    members = [escape_text(each.member) for each in access.memberships if each.group == subject]
    return f"{escape_text(subject)} ({', '.join(members)})" if members else escape_text(subject)


def _own_permissions(device: DeviceConfig, context: DeviceContext) -> str:
    resource = device_resource(device.id)
    mine = [
        each
        for each in (Action.USE, Action.APPROVE, Action.UPDATE, Action.EXPORT)
        if is_allowed(context.rights, each, resource)
    ]
    return ", ".join(mine) or "VIEW"


def format_changes(device: DeviceConfig, update: DeviceUpdate, context: DeviceContext) -> list[str]:
    """Return what an update changes, one safe line each."""
    spans = (
        ("link time", device.link_ttl_seconds, update.link_ttl_seconds),
        ("retention", device.retention_seconds, update.retention_seconds),
    )
    words: list[tuple[str, str, str | None]] = [
        ("approvals", str(device.approvals_required), _text(update.approvals_required)),
        ("format", device.format, update.format),
        *((name, format_duration(before), _span(after)) for name, before, after in spans),
        ("description", _quoted(device.description) or "", _quoted(update.description)),
    ]
    found = [f"{name}: {before} → {after}" for name, before, after in words if after is not None]
    for key in keys_of(device):
        info = context.key(key.uri)
        if info is not None and info.current.version != key.version:
            found.append(f"{key.uri}: version {key.version} → {info.current.version}")
    return [escape_text(each) for each in found]


def _text(value: int | None) -> str | None:
    return str(value) if value is not None else None


def _span(seconds: int | None) -> str | None:
    return format_duration(seconds) if seconds is not None else None


def _quoted(text: str | None) -> str | None:
    return None if text is None else f"“{text}”" if text else "(none)"
