"""Rendering of the details of a task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from textual.content import Content

from sealyard.model.approval import valid_approvers
from sealyard.model.device_configs import EncryptionKey, SigningKey
from sealyard.model.formatting import (
    format_decider,
    format_duration,
    format_size,
    format_size_exact,
    format_time,
    format_time_left,
)
from sealyard.model.results import refreshed
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import SubjectNames, format_subject, insert_subject_names
from sealyard.model.tasks import (
    RESUBMITTABLE_STATUSES,
    InputFile,
    Result,
    ResultState,
    RunProgress,
    Subtask,
    Task,
    TaskStatus,
    Verdict,
)
from sealyard_tui.formatting import format_fields, progress_bar, result_badge, status_badge, task_title
from sealyard_tui.text_layout import format_marked_line, format_warnings, summarize_warnings

_BAR_WIDTH = 30
Fields = list[tuple[str, Content | str]]


def render_task(
    task: Task,
    now: datetime,
    keys: Mapping[str, str],
    names: SubjectNames,
    *,
    live: RunProgress | None = None,
    file: Content | None = None,
    width: int = 0,
) -> Content:
    """Render all details of a task.

    ``keys``: the keys bound to actions, by binding id. ``names``: display names of subjects. ``live``: progress that
    is more recent than that of ``task``. ``file``: the download status of the result file. ``width``: the number of
    cells to which the first section and the warnings are wrapped with a hanging indent; 0 to leave this to the caller.
    """
    warnings = [escape_text(each) for each in (task.warning, *task.warnings) if each]
    sections = [
        _render_status(task, now, keys, names, warnings, live or task.live, width),
        _render_section("Result", _render_result(task.result, now, file, keys)) if task.result is not None else None,
        _render_section("Firmware" if task.subtasks else "Input", _render_files(task.inputs)),
        _render_section("Metadata", _render_files(task.metadata)) if task.metadata else None,
        _render_section("Approvals", _render_approvals(task, now, names))
        if task.approvals_required or task.approvals
        else None,
        _render_section("Warnings", format_warnings(warnings, width)) if warnings else None,
        _render_section("Sub-tasks", _render_subtasks(task.subtasks)) if task.subtasks else None,
        _render_section("Keys and format", format_fields(_build_configuration_fields(task))),
        _render_section("History", _render_history(task, names)) if task.history else None,
    ]
    return Content("\n\n").join([each for each in sections if each is not None])


def _render_section(heading: str, body: Content) -> Content:
    return Content.assemble(Content.styled(heading, "bold $primary"), "\n", body)


def _render_status(
    task: Task,
    now: datetime,
    keys: Mapping[str, str],
    names: SubjectNames,
    warnings: Sequence[str],
    live: RunProgress | None,
    width: int,
) -> Content:
    reason_style = "$error" if task.status is TaskStatus.FAILED else "$warning"
    lines = [
        Content.assemble(
            Content.styled(task_title(task), "bold"),
            "  ",
            status_badge(task.detailed_status),
            Content.styled("  TRIAL: self-approved, do not release", "$error bold") if task.self_approved else "",
        )
    ]
    if task.reason:
        reason = escape_text(insert_subject_names(task.reason, names))
        lines.append(format_marked_line("→", reason, reason_style, width))
    if task.status in RESUBMITTABLE_STATUSES:
        lines.append(Content.styled(f"  Press {keys['dashboard.resubmit']} to submit it again.", "$text-muted"))
    if warnings:
        lines.append(summarize_warnings(warnings, width))
    fields: Fields = [
        ("progress", _render_progress(task, live)),
        ("requested by", escape_text(f"{format_subject(task.created_by, names)}, {format_time(task.created_at)}")),
        ("device", escape_text(f"{task.config_name} version {task.config_version}")),
        ("justification", escape_text(task.justification)),
        ("resubmission of", escape_text(task.resubmission_of or "")),
        ("kind", f"{task.kind}{escape_text(f', {task.content_type}' if task.content_type else '')}"),
        ("id", escape_text(task.id)),
        ("worker", escape_text(task.worker)),
        ("worker losses", str(task.lease_losses or "")),
        ("ends before", format_time_left(task.time_limit_at, now) if not task.status.is_final else ""),
        ("starts before", format_time_left(task.execution_expires_at, now) if _is_before_start(task) else ""),
    ]
    return Content("\n").join([*lines, format_fields(fields, width=width)])


def _is_before_start(task: Task) -> bool:
    return task.status in (TaskStatus.APPROVED, TaskStatus.SCHEDULED)


def _render_progress(task: Task, live: RunProgress | None) -> Content:
    if live is None or task.status.is_final:
        return Content("")
    eta_text = f", about {format_duration(round(live.eta_seconds))} left" if live.eta_seconds is not None else ""
    if task.status is TaskStatus.SCHEDULED and live.queue_position is not None:
        return Content(f"position {live.queue_position} in the queue{eta_text}")
    if task.status is not TaskStatus.RUNNING or not live.bytes_total:
        return Content("")
    progress_text = f"  {format_size(live.bytes_done)} of {format_size(live.bytes_total)}{eta_text}"
    return Content.assemble(progress_bar(live.bytes_done, live.bytes_total, _BAR_WIDTH), progress_text)


def _render_result(result: Result, now: datetime, file: Content | None, keys: Mapping[str, str]) -> Content:
    current = refreshed(result, now)
    fields: Fields = [
        ("state", Content.assemble(result_badge(current, now), _format_result_hint(current, keys))),
        ("trial", Content.styled("self-approved: do not release", "$error bold") if result.self_approved else ""),
        ("file", escape_text(result.file_name)),
        ("download", file or ""),
        ("size", format_size_exact(result.size) if result.size is not None else ""),
        ("sha256", result.sha256 or ""),
        ("link", _format_until(result.expires_at, now)),
        ("kept", _format_until(result.retained_until, now)),
        ("signature", escape_text(result.signature or "")),
    ]
    return format_fields(fields)


def _format_until(moment: datetime | None, now: datetime) -> str:
    return f"until {format_time_left(moment, now)}" if moment is not None else ""


def _format_result_hint(result: Result, keys: Mapping[str, str]) -> Content:
    hints = {
        ResultState.EXPIRED: f"  the link has expired: press {keys['dashboard.renew']} to renew it",
        ResultState.GONE: f"  the file was removed: create a new package ({keys['dashboard.new']})",
    }
    return Content.styled(hints.get(result.state, "") if result.signature is None else "", "$text-muted")


def _render_files(files: Iterable[InputFile]) -> Content:
    return Content("\n").join(
        Content.assemble(
            f"{number}. {escape_text(each.name)}  ",
            Content.styled(f"{format_size_exact(each.size)}\n   sha256 {each.sha256}", "$text-muted"),
        )
        for number, each in enumerate(files, 1)
    )


def _render_approvals(task: Task, now: datetime, names: SubjectNames) -> Content:
    summary = f"{len(valid_approvers(task, task.approvals))} of {task.approvals_required}"
    if task.status is TaskStatus.WAITING and task.approval_expires_at is not None:
        summary += f", until {format_time_left(task.approval_expires_at, now)}"
    decisions = (_render_decision(task, position, names) for position in range(len(task.approvals)))
    return Content("\n").join([Content(summary), *decisions])


def _render_decision(task: Task, position: int, names: SubjectNames) -> Content:
    decision, revocation = task.approvals[position], task.revocation_of(position)
    is_approved = decision.verdict is Verdict.APPROVED
    reason = f": {escape_text(decision.reason)}" if decision.reason else ""
    return Content.assemble(
        Content.styled("✓ approved" if is_approved else "✗ rejected", "$success" if is_approved else "$error"),
        escape_text(f" by {format_decider(decision, names)}, {format_time(decision.at)}"),
        reason,
        Content.styled(f"\n  ! no longer counts: {escape_text(revocation.reason)}" if revocation else "", "$warning"),
    )


def _render_subtasks(subtasks: Iterable[Subtask]) -> Content:
    return Content("\n").join(
        Content.assemble(
            status_badge(each.status).pad_right(13 - len(status_badge(each.status))), _format_subtask(each)
        )
        for each in subtasks
    )


def _format_subtask(subtask: Subtask) -> str:
    return escape_text(f"{subtask.kind} of {subtask.name}")


def _build_configuration_fields(task: Task) -> Fields:
    return [
        ("format", escape_text(task.format)),
        ("encryption", _format_key(task.encryption_key)),
        ("signing", _format_key(task.signing_key)),
    ]


def _format_key(key: EncryptionKey | SigningKey | None) -> str:
    if key is None:
        return ""
    name = f" ({key.name})" if key.name else ""
    return escape_text(f"{key.algorithm} with {key.uri} v{key.version}{name}")


def _render_history(task: Task, names: SubjectNames) -> Content:
    def render_lines() -> Iterator[Content]:
        for change in task.history:
            yield Content.assemble(
                Content.styled(format_time(change.at), "$text-muted"),
                "  ",
                status_badge(change.status),
                escape_text(f"  {insert_subject_names(change.note, names)}") if change.note else "",
            )

    return Content("\n").join(render_lines())
