"""Hint texts for the command line. They refer to its commands and options."""

from __future__ import annotations

from collections.abc import Mapping

from sealyard.model.errors import ErrorInfo, SealyardError
from sealyard.model.hints import HintCode

WORDINGS: Mapping[str, str] = {
    HintCode.ADD_ADMINISTRATOR: (
        "Make another user an administrator first: sealyard acl add USER:name RESOURCE_TYPE:ACL CREATE"
    ),
    HintCode.ADD_APPROVERS: "Add more approvers (--approve), other than the users of the configuration.",
    HintCode.ADD_FIRMWARE: "Add one (--firmware).",
    HintCode.ADD_PROFILE: "Add one: sealyard profile add NAME --workspace DIR --identity USER:name",
    HintCode.ADD_SUBJECT: "Add it first: sealyard subject add {subject}",
    HintCode.ADMIT_ZONE: (
        "Run `sealyard worker enroll` on a crypto host, then `sealyard worker admit` here with the code that it prints."
    ),
    HintCode.ADOPT_WORKSPACE: (
        "Use the original folder, or run `sealyard recover --adopt` if this is the one to use from now on."
    ),
    HintCode.ASK_FOR_PERMISSION: "Ask an administrator to grant it (`sealyard acl add`).",
    HintCode.ASK_FOR_SUBJECT: "Ask an administrator to add it: sealyard subject add {subject}",
    HintCode.ASK_FOR_TOKEN: "Ask an administrator to create one: sealyard token create NAME --subject {subject}",
    HintCode.ASK_TO_ENABLE: "Ask an administrator to enable it: sealyard subject enable {subject}",
    HintCode.CHOOSE_PROFILE: "Choose a profile with --profile: {profiles}.",
    HintCode.CONFIRM: "Confirm it with --yes.",
    HintCode.CONFIRM_CLOCK: (
        "If the clock is right, wait {remaining_time}, or confirm it as an administrator (`sealyard clock confirm`);"
        " otherwise, correct it."
    ),
    HintCode.CREATE_SERVER_SETTINGS: "Create one with `sealyard config example --server`.",
    HintCode.CREATE_TOKEN: (
        "Ask for a new one (`sealyard token create`): it is unknown, revoked or expired, or its owner is disabled."
    ),
    HintCode.CREATE_WORKSPACE: "Create one with `sealyard init`, or choose another with --workspace or --profile.",
    HintCode.ENABLE_SUBJECT: "Enable it first: sealyard subject enable {subject}",
    HintCode.ENABLE_TLS: (
        "Set a certificate (--tls-certificate, --tls-key), or --behind-proxy if a reverse proxy terminates TLS."
    ),
    HintCode.ENROLL_OTP: "Enroll an authenticator first: sealyard otp enroll",
    HintCode.ENTER_OTP: "Enter the one that your authenticator shows now (--otp).",
    HintCode.FINISH_MOVE: "Run `sealyard workspace move` with the same target again to finish it.",
    HintCode.GIVE_REASON: "Enter a reason (--reason).",
    HintCode.LIST_CRYPTO_HOSTS: "List crypto hosts with `sealyard worker list`.",
    HintCode.LIST_DEVICES: "List device configurations with `sealyard device list`.",
    HintCode.LIST_FAILED_DELIVERIES: "List failed deliveries with `sealyard webhook dead-letters`.",
    HintCode.LIST_FAILED_NOTIFICATIONS: "List failed notifications with `sealyard notification failed`.",
    HintCode.LIST_KEYS: "List keys with `sealyard key list`.",
    HintCode.LIST_NOTIFICATIONS: "List notification targets with `sealyard notification list`.",
    HintCode.LIST_PROFILES: "List profiles with `sealyard profile list`.",
    HintCode.LIST_RULES: "List rules with `sealyard acl list`.",
    HintCode.LIST_SETTINGS: "`sealyard config example` lists all keys with their defaults.",
    HintCode.LIST_TASKS: "List tasks with `sealyard tasks`.",
    HintCode.LIST_TOKENS: "List tokens with `sealyard token list`.",
    HintCode.LIST_WEBHOOKS: "List webhooks with `sealyard webhook list`.",
    HintCode.LOG_IN: "Log in with `sealyard login {server}`, or set SEALYARD_TOKEN.",
    HintCode.RECOVER_WORKSPACE: (
        "Put back the newest copy of the whole workspace, or run `sealyard recover` to continue with this one."
    ),
    HintCode.RENEW_LINK: "Renew it: sealyard renew {task_id}",
    HintCode.REPAIR_NAMES: (
        "--repair replaces it in names that no digest covers. Audit entries and contents of tasks cannot be changed."
    ),
    HintCode.RESET_OTP: "Wait, or ask an administrator to reset it: sealyard otp reset",
    HintCode.SELECT_WORKSPACE: (
        "Create one with `sealyard init`, choose one with --workspace or --profile, or log in: `sealyard login`."
    ),
    HintCode.SHOW_SIGNATURE: "Read the signature from the task: sealyard show {task_id}",
    HintCode.SHOW_TASK: "Check it later: sealyard show {task_id}",
    HintCode.START_DEMO: "Start one with `sealyard demo`.",
    HintCode.SUBMIT_MESSAGE: "Submit the file itself (--file).",
    HintCode.TRUST_CERTIFICATE: (
        "Check that it is the right server, then trust its CA certificate: sealyard login --ca FILE"
    ),
    HintCode.UNLINK_ACCOUNT: (
        "If this change is intended, ask an administrator to unlink the account: sealyard subject unlink {subject}"
    ),
    HintCode.UPGRADE_BUS: "Run `sealyard bus upgrade` with the role that owns the database.",
    HintCode.UPGRADE_DATABASE: "Run `sealyard db upgrade` with the role that owns the tables.",
    HintCode.USE_DATA_KEY: "Use a configuration created with --purpose data.",
    HintCode.VERIFY_AUDIT: "Run `sealyard audit verify` to find what was changed.",
}


def format_hint(error: SealyardError | ErrorInfo) -> str:
    """Return the hint of ``error``, worded for the command line. It may contain untrusted text."""
    return error.structured_hint.word(WORDINGS)


def format_error(error: SealyardError | ErrorInfo) -> str:
    """Return the message and hint of ``error`` on one line. The result may contain untrusted text."""
    return f"{error.message} {format_hint(error)}".rstrip()
