"""Hints in words of the application: those of the core may name the command line, where here a key does it."""

from __future__ import annotations

import re

from sealyard.model.errors import (
    AuditVerificationError,
    ConflictError,
    ErrorInfo,
    InvalidKeyError,
    NotFoundError,
    PermissionDeniedError,
    ResultExpiredError,
    SealyardError,
)

_APP_HINTS: dict[str, tuple[tuple[str, str], ...]] = {
    ResultExpiredError.code: (("Renew it: sealyard renew", "Press e on the dashboard to renew the link."),),
    NotFoundError.code: (
        ("`sealyard tasks`", "1 Dashboard lists all tasks."),
        ("`sealyard device list`", "5 Devices lists all device configurations."),
        ("`sealyard key list`", "5 Devices shows the keys of each device configuration."),
        ("`sealyard acl list`", "6 Access shows the rules."),
        ("sealyard subject add", "Add the subject first (n under 6 Access)."),
    ),
    PermissionDeniedError.code: (
        ("`sealyard acl add`", "Ask an administrator to grant the permission (+ under 6 Access)."),
        ("sealyard subject add", "Ask an administrator to add the subject (n under 6 Access)."),
    ),
    InvalidKeyError.code: (("--purpose data", "Use a device configuration whose keys are for signing data."),),
    ConflictError.code: (("sealyard show", "Press Enter on the dashboard to show it in the task."),),
    AuditVerificationError.code: (
        ("before you have run", "Press V under 4 Audit to see what was changed, before anything is added."),
        ("`sealyard audit verify`", "Press V under 4 Audit to see where."),
    ),
}
"""By error code: parts of the core's hint, and the replacement for the whole hint."""

_OPTION = re.compile(r" \(--[a-z-]+\)")
_BY_OPTION = re.compile(r" with --[a-z-]+")


def app_hint(error: SealyardError | ErrorInfo) -> str:
    """Return the hint of ``error`` for users of the application. It may hold foreign text."""
    for part, hint in _APP_HINTS.get(error.code, ()):
        if part in error.hint:
            return hint
    return _BY_OPTION.sub(" first", _OPTION.sub("", error.hint))


def error_text(error: SealyardError | ErrorInfo) -> str:
    """Return message and hint of ``error`` in one line. It may hold foreign text."""
    return f"{error.message} {app_hint(error)}".rstrip()
