"""Functions that import the providers of the command palette when it is first opened, to not delay the first paint."""

from __future__ import annotations

from textual.command import Provider


def load_binding_commands() -> type[Provider]:
    from sealyard_tui.appearance.palette import BindingCommands

    return BindingCommands


def load_profile_commands() -> type[Provider]:
    from sealyard_tui.appearance.palette import ProfileCommands

    return ProfileCommands


def load_task_commands() -> type[Provider]:
    from sealyard_tui.appearance.palette import TaskCommands

    return TaskCommands


def load_row_commands() -> type[Provider]:
    from sealyard_tui.appearance.palette_rows import RowCommands

    return RowCommands


def load_filter_commands() -> type[Provider]:
    from sealyard_tui.appearance.palette_rows import FilterCommands

    return FilterCommands


def load_audit_commands() -> type[Provider]:
    from sealyard_tui.appearance.palette_audit import AuditCommands

    return AuditCommands


PALETTE_PROVIDERS = frozenset(
    {
        load_binding_commands,
        load_profile_commands,
        load_task_commands,
        load_row_commands,
        load_filter_commands,
        load_audit_commands,
    }
)
