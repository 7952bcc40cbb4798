"""What to do next, in words of the application: the core's advice may name the command line, and here a key does it."""

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
"""By the error's code: what the core's advice holds, and what is said instead."""

_OPTION = re.compile(r" \(--[a-z-]+\)")
_BY_OPTION = re.compile(r" with --[a-z-]+")


def app_hint(error: SealyardError | ErrorInfo) -> str:
    """The advice of ``error`` for somebody in the application. Foreign text: made harmless by who shows it."""
    for held, words in _APP_HINTS.get(error.code, ()):
        if held in error.hint:
            return words
    return _BY_OPTION.sub(" first", _OPTION.sub("", error.hint))


def error_text(error: SealyardError | ErrorInfo) -> str:
    """What happened and what to do, in one line. Foreign text: made harmless by who shows it."""
    return f"{error.message} {app_hint(error)}".rstrip()
