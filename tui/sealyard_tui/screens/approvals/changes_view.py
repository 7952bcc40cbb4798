"""Rendering of the changes since the last released package. Escapes all untrusted text."""

from __future__ import annotations

from collections.abc import Iterator

from textual.content import Content

from sealyard.model.formatting import format_count, format_time, shorten_middle
from sealyard.model.metadata_changes import FieldChange, MetadataChanges
from sealyard.model.package_diff import ChangeKind, FileChange, PackageDiff, diff_packages
from sealyard.model.requests import ApprovalReview
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import SubjectNames, format_subject
from sealyard.model.tasks import TaskKind
from sealyard_tui.formatting import task_title
from sealyard_tui.text_layout import format_marked_line, indent

MAX_VALUE_LENGTH = 200
"""Maximum length of a changed value, in characters. The metadata below the changes shows the whole value."""

_CHANGE_SIGNS: dict[ChangeKind, tuple[str, str]] = {
    ChangeKind.ADDED: ("+", "$success"),
    ChangeKind.REMOVED: ("-", "$error"),
    ChangeKind.CHANGED: ("~", "$warning"),
    ChangeKind.RENAMED: ("~", "$warning"),
    ChangeKind.SAME: ("=", "$text-muted"),
}


def render_changes(review: ApprovalReview, width: int, names: SubjectNames) -> Iterator[Content]:
    """Render what has changed since the last released package, in lines of ``width`` cells."""
    if review.task.kind is not TaskKind.PACKAGING:
        yield Content.styled("Only packages are compared.", "$text-muted")
        return
    if review.previous is None:
        yield format_marked_line("!", "First package for this device configuration.", "$warning", width)
        return
    previous = review.previous
    requester = format_subject(previous.created_by, names)
    text = f"{task_title(previous)}, requested by {requester} at {format_time(previous.created_at)}"
    yield indent(Content("compared with "), Content(escape_text(text)), width)
    diff = diff_packages(previous, review.task)
    if diff.is_empty:
        yield format_marked_line("!", "No changes: same files, keys and terms.", "$warning", width)
        return
    yield from _render_term_changes(diff, width)
    if diff.is_repetition:
        yield format_marked_line("!", "The content is the same.", "$warning", width)
    metadata_changes = {(changes.old_name, changes.name): changes for changes in review.metadata_changes}
    for change in diff.firmware:
        yield from _render_file_change(change, width)
    for change in diff.metadata:
        yield from _render_file_change(change, width)
        if change.kind is ChangeKind.CHANGED and change.before is not None and change.after is not None:
            field_changes = metadata_changes.get((change.before.name, change.after.name))
            if field_changes is not None:
                yield from _render_metadata_changes(field_changes, width)


def _render_term_changes(diff: PackageDiff, width: int) -> Iterator[Content]:
    for change in diff.terms:
        text = f"{escape_text(change.before) or 'none'} → {escape_text(change.after) or 'none'}"
        yield indent(Content.styled(f"~ {change.term}: ", "$warning"), Content(text), width)
    if diff.reordered:
        yield format_marked_line("~", "firmware order changed", "$warning", width)


def _render_file_change(change: FileChange, width: int) -> Iterator[Content]:
    sign, style = _CHANGE_SIGNS[change.kind]
    growth = f"  {_format_growth(change)}" if change.kind not in (ChangeKind.SAME, ChangeKind.RENAMED) else ""
    label = Content.styled(f"{sign} {change.kind:<8}", style)
    yield indent(label, Content(f"{escape_text(change.name)}{growth}"), width)
    if change.kind is ChangeKind.CHANGED and change.before is not None and change.after is not None:
        yield indent(Content("  was "), Content(change.before.sha256), width)
        yield indent(Content("  now "), Content.styled(change.after.sha256, "bold"), width)


def _format_growth(change: FileChange) -> str:
    """Return how much a changed file has grown, or the size of an added or removed file."""
    if not change.growth:
        return "same size"
    size = format_count(abs(change.growth), "byte")
    if change.kind is not ChangeKind.CHANGED:
        return size
    return f"{size} {'more' if change.growth > 0 else 'less'}"


def _render_metadata_changes(changes: MetadataChanges, width: int) -> Iterator[Content]:
    if changes.problem:
        yield indent(Content("  "), Content.styled(f"! {escape_text(changes.problem)}", "$warning"), width)
    elif not changes.fields:
        yield indent(Content("  "), Content.styled("= no field changed", "$text-muted"), width)
    for change in changes.fields:
        yield _render_field_change(change, width)
    if changes.omitted:
        omitted = format_count(changes.omitted, "more changed field")
        yield indent(Content("  "), Content.styled(f"! {omitted}; compare the metadata below", "$warning"), width)


def _render_field_change(change: FieldChange, width: int) -> Content:
    kind = ChangeKind.CHANGED
    if change.old is None or change.new is None:
        kind = ChangeKind.ADDED if change.old is None else ChangeKind.REMOVED
    sign, style = _CHANGE_SIGNS[kind]
    values = [_format_value(value) for value in (change.old, change.new) if value is not None]
    path = Content.styled(escape_text(change.path) or "(whole file)", "bold")
    return indent(Content.styled(f"  {sign} ", style), Content.assemble(path, ": ", " → ".join(values)), width)


def _format_value(value: str) -> str:
    return shorten_middle(escape_text(value), MAX_VALUE_LENGTH)
