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
    ResultExpiredError.code: (("Renew it: sealyard renew", "e on the dashboard renews the link."),),
    NotFoundError.code: (
        ("`sealyard tasks`", "1 Dashboard lists those there are."),
        ("`sealyard device list`", "5 Devices names those there are."),
        ("`sealyard key list`", "5 Devices names the keys of each configuration."),
        ("`sealyard acl list`", "6 Access shows the rules."),
        ("sealyard subject add", "Add it first: n under 6 Access."),
    ),
    PermissionDeniedError.code: (
        ("`sealyard acl add`", "Ask an administrator for the right: + under 6 Access gives it."),
        ("sealyard subject add", "An administrator can add it: n under 6 Access."),
    ),
    InvalidKeyError.code: (("--purpose data", "Use a configuration whose keys were made to serve data."),),
    ConflictError.code: (("sealyard show", "It stands in the task: Enter on the dashboard shows it."),),
    AuditVerificationError.code: (
        ("before you have run", "V under 4 Audit says what was changed; look before anything is added."),
        ("`sealyard audit verify`", "V under 4 Audit says where."),
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
