"""Texts of the upload screen: files, terms of the configuration, and the summary of the task."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from textual.content import Content

from sealyard.client.watch_folder.events import DropDeferred, DropRejected, PackageProposal
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.formatting import format_size
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import TaskKind
from sealyard_tui.formatting import format_age, format_path, progress_bar, safe_content, short_duration
from sealyard_tui.screens.upload.form_model import FileRole, FormFile, UploadForm
from sealyard_tui.session.hints import app_hint, error_text
from sealyard_tui.session.state import SessionState
from sealyard_tui.session.watch_folder import DropStatus, WatchFolderManager, WatchState

KINDS = {TaskKind.PACKAGING: "package", TaskKind.ENCRYPTION: "encryption", TaskKind.SIGNING: "signing"}
BAR_WIDTH = 18
MAX_LISTED = 5
MAX_WARNINGS = 2


def entry_cells(entry: FormFile, number: int) -> tuple[Content | str, ...]:
    """Render a file; ``number`` is its position within its role, from 1."""
    return f"{entry.part} {number}", entry.name, format_size(entry.size) if entry.size else "", _state(entry)


def _state(entry: FormFile) -> Content:
    if (problem := entry.problem) is not None:
        return Content.styled(f"✗ {_without_name(problem.message, entry.name)}", "$error")
    if entry.file is None:
        return progress_bar(entry.done, entry.size, BAR_WIDTH)
    if entry.expected:
        return Content.styled(f"✓ {entry.file.sha256[:12]}… as expected", "$success")
    return Content.styled(f"✓ {entry.file.sha256[:12]}…", "$success")


def _without_name(message: str, name: str) -> str:
    """Remove the name from a message that is shown beside it."""
    return escape_text(message).removeprefix(f"{name} ").rstrip(".")


def entry_detail(entry: FormFile | None, keys: Mapping[str, str]) -> Content:
    """Return two lines about the current file. ``keys`` are those that hints name."""
    if entry is None:
        return Content("")
    if (problem := entry.problem) is not None:
        first = Content.styled(f"✗ {escape_text(error_text(problem, keys))}", "$error")
    elif entry.file is not None:
        first = Content.assemble(Content.styled("SHA-256 ", "$text-muted"), entry.file.sha256)
    else:
        done, size = format_size(entry.done), format_size(entry.size)
        first = Content.styled(f"uploading: {done} of {size}", "$text-muted")
    return Content("\n").join([first, Content.styled(format_path(entry.path), "$text-muted")])


def device_label(device: DeviceConfig | None) -> Content:
    return safe_content(f"{device.name} v{device.version}") if device is not None else Content("choose …")


def format_terms(device: DeviceConfig) -> Content:
    """Return algorithms and terms of a configuration in one line."""
    algorithms = f"{device.encryption.algorithm} · {device.signing.algorithm}"
    return Content.styled(f"{algorithms} · {escape_text(device.format)} · {_quorum(device)}", "$text-muted")


def format_device_choice(device: DeviceConfig) -> Content:
    """Return a configuration for the picker, with keys and warnings."""
    times = f"link {short_duration(device.link_ttl_seconds)}, kept {short_duration(device.retention_seconds)}"
    terms = f" v{device.version} · {escape_text(device.format)} · {_quorum(device)} · {times}"
    keys = [
        f"  {each.algorithm}  {escape_text(each.uri)} v{each.version}" for each in (device.encryption, device.signing)
    ]
    lines = [
        Content.assemble(Content.styled(escape_text(device.name), "bold"), terms),
        *(Content.styled(each, "$text-muted") for each in keys),
        *(Content.styled(f"  ! {escape_text(each)}", "$warning") for each in device.warnings),
    ]
    return Content("\n").join(lines)


def _quorum(device: DeviceConfig) -> str:
    return f"{device.approvals_required} approval{'s' if device.approvals_required != 1 else ''}"


def format_totals(form: UploadForm) -> str:
    firmware, metadata = len(form.of(FileRole.FIRMWARE)), len(form.of(FileRole.METADATA))
    if not form.entries:
        return "Files"
    return f"Files: {firmware} firmware, {metadata} metadata, {format_size(form.total)}"


def summary(form: UploadForm, device: DeviceConfig, warnings: tuple[str, ...], changed: list[FormFile]) -> str:
    """Return the question before a task is created. It may hold foreign text."""
    kind = KINDS[form.kind]
    lines = [
        f"{kind.capitalize()} for {device.name} v{device.version}"
        + (f", {_quorum(device)}" if form.kind is not TaskKind.ENCRYPTION else ""),
        f"Name: {form.name.strip() or form.suggested_name}",
        "",
        *(_summary_line(each, number) for number, each in enumerate(form.entries[:MAX_LISTED], 1)),
    ]
    if (more := len(form.entries) - MAX_LISTED) > 0:
        lines.append(f"   … and {more} more")
    if warnings or changed:
        lines.append("")
    said = [f"{each.name} changed on disk; the uploaded version will be used." for each in changed]
    said += warnings
    lines += [f"! {each}" for each in said[:MAX_WARNINGS]]
    if (more := len(said) - MAX_WARNINGS) > 0:
        lines.append(f"! and {more} more")
    return "\n".join(lines)


def _summary_line(entry: FormFile, number: int) -> str:
    digest = entry.file.sha256[:12] if entry.file is not None else ""
    return f"{number}. {escape_text(entry.path.name, 34)}  {entry.part}, {format_size(entry.size)}, {digest}…"


def format_watch_state(manager: WatchFolderManager) -> Content:
    """Return the state of the watch folder for the title line."""
    folder, device = escape_text(manager.settings.folder, 40), escape_text(manager.settings.device, 24)
    if manager.state is WatchState.WATCHING:
        return Content.assemble(
            Content.styled("● ", "$success"), f"watching {folder} for {device} ({manager.settings.on_drop})"
        )
    if manager.state is WatchState.FAILED and manager.error is not None:
        return Content.styled(f"✗ watch folder failed: {escape_text(manager.error.message)} (w)", "$error")
    reason = f": {escape_text(manager.error.message)}" if manager.error is not None else " (w)"
    return Content.styled(f"○ watch folder off{reason}", "$text-muted")


def proposal_cells(dropped: DropStatus, now: datetime, *, in_form: bool) -> tuple[Content | str, ...]:
    return escape_text(dropped.name), _dropped_words(dropped, in_form=in_form), format_age(dropped.at, now)


def _dropped_words(dropped: DropStatus, *, in_form: bool) -> Content:
    event = dropped.event
    if dropped.invalid_reason:
        return Content.styled(f"✗ no longer valid: {escape_text(dropped.invalid_reason)}", "$error")
    if isinstance(event, PackageProposal):
        files = f"{len(event.firmware)} firmware, {len(event.metadata)} metadata"
        return Content(f"◆ in the form: {files}") if in_form else Content.styled(f"◇ proposed: {files}", "$accent")
    if isinstance(event, DropRejected):
        return Content.styled(f"✗ rejected: {escape_text(event.error.message)}", "$error")
    if isinstance(event, DropDeferred):
        return Content.styled(f"! retrying in {event.retry_in:g} s: {escape_text(event.error.message)}", "$warning")
    return Content.styled(f"✓ submitted: task {escape_text(event.task.id, 12)}", "$success")


def dropped_reason(dropped: DropStatus, keys: Mapping[str, str]) -> str:
    """Return in full why an entry is not a proposal. It may hold foreign text. ``keys`` are those that hints name."""
    if isinstance(dropped.event, DropRejected | DropDeferred):
        error = dropped.event.error
        return f"{error.message}\n{app_hint(error, keys)}"
    return dropped.invalid_reason


def format_readiness(blocked_reason: str, *, is_submitting: bool) -> Content:
    """Format whether the form can be submitted; ``blocked_reason`` is empty if it can."""
    if is_submitting:
        return Content.styled("… submitting", "$accent")
    if blocked_reason:
        return Content.styled(f"○ not ready: {blocked_reason}", "$text-muted")
    return Content.styled("● ready", "$success")


def submit_blocked_reason(state: SessionState, form: UploadForm, device: DeviceConfig | None, is_rejected: bool) -> str:
    """Return why the form cannot be submitted, as safe text; empty if it can.

    ``is_rejected`` is whether the container format rejects the files of the form.
    """
    if state.read_only:
        return "the workspace is read-only"
    if not state.can_write:
        return "the engine is starting"
    if reason := form.blocked_reason():
        return reason
    if device is None:
        return "choose a device configuration (d)"
    return "see the error above" if is_rejected else ""
