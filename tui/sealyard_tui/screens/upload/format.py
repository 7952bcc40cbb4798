"""Text formatting for the upload screen: files, configurations, the watch folder, and the task summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from textual.content import Content

from sealyard.client.watch_folder.events import DropDeferred, DropRejected, PackageProposal
from sealyard.model.device_configs import DeviceConfig, EncryptionKey
from sealyard.model.formatting import format_size
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import TaskKind
from sealyard_tui.formatting import (
    format_age,
    format_blocked_reason,
    format_path,
    progress_bar,
    safe_content,
    short_duration,
    short_reason,
    shorten_middle,
)
from sealyard_tui.screens.upload.form_model import FileRole, FormFile, UploadForm
from sealyard_tui.session.hints import app_hint, error_text
from sealyard_tui.session.state import SessionState
from sealyard_tui.session.watch_folder import DropStatus, WatchFolderManager, WatchState

KIND_LABELS = {TaskKind.PACKAGING: "package", TaskKind.ENCRYPTION: "encryption", TaskKind.SIGNING: "signing"}
BAR_WIDTH = 18
MAX_LISTED = 5
MAX_TITLE_NAME_LENGTH = 30
MAX_WARNINGS = 2


def render_file_cells(entry: FormFile, number: int) -> tuple[Content | str, ...]:
    """Return the table cells of a file. ``number``: its position among the files of its role, starting at 1."""
    return f"{entry.role} {number}", entry.name, format_size(entry.size) if entry.size else "", _format_state(entry)


def _format_state(entry: FormFile) -> Content:
    if (problem := entry.problem) is not None:
        return Content.styled(f"✗ {_strip_name(problem.message, entry.name)}", "$error")
    if entry.file is None:
        return progress_bar(entry.uploaded_bytes, entry.size, BAR_WIDTH)
    if entry.warning:
        return Content.styled(f"! {_strip_name(entry.warning, entry.name)}", "$warning")
    if entry.expected_sha256:
        return Content.styled(f"✓ {entry.file.sha256[:12]}… as expected", "$success")
    return Content.styled(f"✓ {entry.file.sha256[:12]}…", "$success")


def _strip_name(message: str, name: str) -> str:
    """Return ``message`` as safe text, without the leading file name (shown beside it) and the final full stop."""
    return escape_text(message).removeprefix(f"{name} ").rstrip(".")


def render_file_detail(entry: FormFile | None, keys: Mapping[str, str]) -> Content:
    """Return two lines about a file, or an empty text without a file. ``keys``: the keys of actions, for hints."""
    if entry is None:
        return Content("")
    if (problem := entry.problem) is not None:
        first_line = Content.styled(f"✗ {escape_text(error_text(problem, keys))}", "$error")
    elif entry.file is not None:
        first_line = Content.assemble(Content.styled("SHA-256 ", "$text-muted"), entry.file.sha256)
        if note := _format_file_note(entry, keys):
            return Content("\n").join([Content.styled(note, "$warning"), first_line])
    else:
        done_size, size = format_size(entry.uploaded_bytes), format_size(entry.size)
        first_line = Content.styled(f"uploading: {done_size} of {size}", "$text-muted")
    return Content("\n").join([first_line, Content.styled(format_path(entry.path), "$text-muted")])


def _format_file_note(entry: FormFile, keys: Mapping[str, str]) -> str:
    """Return a note about a file that can be packed but may be the wrong one; empty if there is none."""
    if entry.warning:
        return f"! {entry.warning}"
    return f"! {format_role_hint([entry], keys)}" if entry.is_misplaced else ""


def format_role_hint(entries: Sequence[FormFile], keys: Mapping[str, str]) -> str:
    """Return how to change the role of firmware files that look like metadata, as safe text."""
    part_key = keys["upload.part"]
    if len(entries) == 1:
        return f"{entries[0].name} looks like metadata: press {part_key} to pack it as metadata."
    return f"{len(entries)} files look like metadata: mark them and press {part_key} to pack them as metadata."


def format_device(device: DeviceConfig | None) -> Content:
    return safe_content(f"{device.name} v{device.version}") if device is not None else Content("choose …")


def format_terms(device: DeviceConfig, encryption_key: EncryptionKey | None) -> Content:
    """Return the algorithms, container format and number of approvals of a configuration on one line.

    ``encryption_key``: the chosen key, if the user can choose one.
    """
    algorithms = f"{(encryption_key or device.encryption).algorithm} · {device.signing.algorithm}"
    return Content.styled(f"{algorithms} · {escape_text(device.format)} · {_format_quorum(device)}", "$text-muted")


def format_device_choice(device: DeviceConfig) -> Content:
    """Return a configuration with its terms, keys and warnings, as an entry of a selection list."""
    times = f"link {short_duration(device.link_ttl_seconds)}, kept {short_duration(device.retention_seconds)}"
    terms = f" v{device.version} · {escape_text(device.format)} · {_format_quorum(device)} · {times}"
    keys = [
        f"  {each.algorithm}  {escape_text(each.uri)} v{each.version}" for each in (device.encryption, device.signing)
    ]
    lines = [
        Content.assemble(Content.styled(escape_text(device.name), "bold"), terms),
        *(Content.styled(each, "$text-muted") for each in keys),
        *(Content.styled(f"  ! {escape_text(each)}", "$warning") for each in device.warnings),
    ]
    return Content("\n").join(lines)


def format_encryption_key(key: EncryptionKey) -> Content:
    name = f"{escape_text(key.name)}  " if key.name else ""
    details = f"{escape_text(key.uri)} v{key.version}  {key.algorithm}"
    return Content.assemble(name, Content.styled(details, "$text-muted"))


def _format_quorum(device: DeviceConfig) -> str:
    return f"{device.approvals_required} approval{'s' if device.approvals_required != 1 else ''}"


def format_totals(form: UploadForm) -> str:
    firmware, metadata = len(form.get_files(FileRole.FIRMWARE)), len(form.get_files(FileRole.METADATA))
    if not form.entries:
        return "Files"
    return f"Files: {firmware} firmware, {metadata} metadata, {format_size(form.total_size)}"


def format_title(form: UploadForm) -> Content:
    """Return the title of the form: for a resubmission with the earlier task and the reason why it ended."""
    task = form.earlier_task
    if task is None:
        return Content("New task")
    name = shorten_middle(escape_text(task.name), MAX_TITLE_NAME_LENGTH)
    return Content(f"Resubmission of {name}, {task.detailed_status}: {escape_text(short_reason(task))}")


def format_summary(
    form: UploadForm, device: DeviceConfig, warnings: tuple[str, ...], modified_files: list[FormFile]
) -> Content:
    """Return the task summary shown in the confirmation dialog."""
    kind = KIND_LABELS[form.kind]
    key = form.get_encryption_key(device)
    lines = [
        f"{kind.capitalize()} for {escape_text(device.name)} v{device.version}"
        + (f", {_format_quorum(device)}" if form.kind is not TaskKind.ENCRYPTION else ""),
        f"Name: {escape_text(form.name.strip()) or form.suggested_name}",
        *([f"Encryption key: {escape_text(key.name or key.uri)}"] if key is not None else []),
        *([f"Justification: {escape_text(form.justification.strip())}"] if form.justification.strip() else []),
        *([f"Resubmission of {escape_text(form.earlier_task.name)}"] if form.earlier_task is not None else []),
        "",
        *(_format_summary_line(each, number) for number, each in enumerate(form.entries[:MAX_LISTED], 1)),
    ]
    if (hidden_count := len(form.entries) - MAX_LISTED) > 0:
        lines.append(f"   … and {hidden_count} more")
    if warnings or modified_files:
        lines.append("")
    all_warnings = [f"{each.name} changed on disk; the uploaded version will be used." for each in modified_files]
    all_warnings += warnings
    warning_lines = [f"! {escape_text(each)}" for each in all_warnings[:MAX_WARNINGS]]
    if (hidden_count := len(all_warnings) - MAX_WARNINGS) > 0:
        warning_lines.append(f"! and {hidden_count} more")
    return Content("\n").join([*map(Content, lines), *(Content.styled(each, "$warning") for each in warning_lines)])


def _format_summary_line(entry: FormFile, number: int) -> str:
    digest = entry.file.sha256[:12] if entry.file is not None else ""
    return f"{number}. {escape_text(entry.path.name, 34)}  {entry.role}, {format_size(entry.size)}, {digest}…"


def format_watch_state(manager: WatchFolderManager, keys: Mapping[str, str]) -> Content:
    """Return the state of the watch folder for the title line. ``keys``: the keys of actions, for hints."""
    setup_note = f" ({keys['upload.watch']})"
    folder, device = escape_text(manager.settings.folder, 40), escape_text(manager.settings.device, 24)
    if manager.state is WatchState.WATCHING:
        return Content.assemble(
            Content.styled("● ", "$success"), f"watching {folder} for {device} ({manager.settings.on_drop})"
        )
    if manager.state is WatchState.FAILED and manager.error is not None:
        return Content.styled(f"✗ watch folder failed: {escape_text(manager.error.message)}{setup_note}", "$error")
    reason = f": {escape_text(manager.error.message)}" if manager.error is not None else setup_note
    return Content.styled(f"○ watch folder off{reason}", "$text-muted")


def render_drop_cells(drop: DropStatus, now: datetime, *, in_form: bool) -> tuple[Content | str, ...]:
    return escape_text(drop.name), _format_drop_state(drop, in_form=in_form), format_age(drop.at, now)


def _format_drop_state(drop: DropStatus, *, in_form: bool) -> Content:
    event = drop.event
    if drop.invalid_reason:
        return Content.styled(f"✗ no longer valid: {escape_text(drop.invalid_reason)}", "$error")
    if isinstance(event, PackageProposal):
        files = f"{len(event.firmware)} firmware, {len(event.metadata)} metadata"
        return Content(f"◆ in the form: {files}") if in_form else Content.styled(f"◇ proposed: {files}", "$accent")
    if isinstance(event, DropRejected):
        return Content.styled(f"✗ rejected: {escape_text(event.error.message)}", "$error")
    if isinstance(event, DropDeferred):
        return Content.styled(f"! retrying in {event.retry_in:g} s: {escape_text(event.error.message)}", "$warning")
    return Content.styled(f"✓ submitted: task {escape_text(event.task.id, 12)}", "$success")


def format_drop_reason(drop: DropStatus, keys: Mapping[str, str]) -> str:
    """Return the full reason why an entry of the watch folder is not proposed. It may contain untrusted text.

    ``keys``: the keys of actions, for hints.
    """
    if isinstance(drop.event, DropRejected | DropDeferred):
        error = drop.event.error
        return f"{error.message}\n{app_hint(error, keys)}"
    return drop.invalid_reason


def format_readiness(blocked_reason: str, *, is_submitting: bool) -> Content:
    """Return text that shows whether the form is ready. ``blocked_reason``: why it is not; empty if it is."""
    if is_submitting:
        return Content.styled("… submitting", "$accent")
    if blocked_reason:
        return format_blocked_reason(blocked_reason)
    return Content.styled("● ready", "$success")


def get_submit_blocked_reason(
    state: SessionState, form: UploadForm, device: DeviceConfig | None, is_rejected: bool
) -> str:
    """Return the reason why the form cannot be submitted, as safe text; empty if it can be submitted.

    ``is_rejected``: whether the format check has rejected the files in the form.
    """
    if blocked_reason := state.write_blocked_reason:
        return blocked_reason
    if reason := form.get_blocked_reason():
        return reason
    if device is None:
        return "choose a device configuration"
    if form.offers_encryption_keys(device) and form.get_encryption_key(device) is None:
        return "choose another encryption key"
    return "see the error above" if is_rejected else ""
