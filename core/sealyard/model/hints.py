"""Hints: what a user can do about an error. Each front end words those that have a code for itself.

A hint without a code is a plain text that is right in every front end.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class HintCode(StrEnum):
    """A hint that front ends word for themselves: with their own commands, keys or requests.

    The values are stable: they are sent to other processes and over networks.
    """

    ADD_ADMINISTRATOR = "add-administrator"
    ADD_APPROVERS = "add-approvers"
    ADD_FIRMWARE = "add-firmware"
    ADD_PROFILE = "add-profile"
    ADD_SUBJECT = "add-subject"
    ADMIT_ZONE = "admit-zone"
    ADOPT_WORKSPACE = "adopt-workspace"
    ASK_FOR_PERMISSION = "ask-for-permission"
    ASK_FOR_SUBJECT = "ask-for-subject"
    ASK_FOR_TOKEN = "ask-for-token"  # noqa: S105 - not a secret
    ASK_TO_ENABLE = "ask-to-enable"
    CHOOSE_PROFILE = "choose-profile"
    CONFIRM = "confirm"
    CONFIRM_CLOCK = "confirm-clock"
    CREATE_SERVER_SETTINGS = "create-server-settings"
    CREATE_TOKEN = "create-token"  # noqa: S105 - not a secret
    CREATE_WORKSPACE = "create-workspace"
    ENABLE_SUBJECT = "enable-subject"
    ENABLE_TLS = "enable-tls"
    ENROLL_OTP = "enroll-otp"
    ENTER_OTP = "enter-otp"
    FINISH_MOVE = "finish-move"
    GIVE_REASON = "give-reason"
    LIST_CRYPTO_HOSTS = "list-crypto-hosts"
    LIST_DEVICES = "list-devices"
    LIST_FAILED_DELIVERIES = "list-failed-deliveries"
    LIST_FAILED_NOTIFICATIONS = "list-failed-notifications"
    LIST_KEYS = "list-keys"
    LIST_NOTIFICATIONS = "list-notifications"
    LIST_PROFILES = "list-profiles"
    LIST_RULES = "list-rules"
    LIST_SETTINGS = "list-settings"
    LIST_TASKS = "list-tasks"
    LIST_TOKENS = "list-tokens"
    LIST_WEBHOOKS = "list-webhooks"
    LOG_IN = "log-in"
    RECOVER_WORKSPACE = "recover-workspace"
    RENEW_LINK = "renew-link"
    REPAIR_NAMES = "repair-names"
    RESET_OTP = "reset-otp"
    SELECT_WORKSPACE = "select-workspace"
    SHOW_SIGNATURE = "show-signature"
    SHOW_TASK = "show-task"
    START_DEMO = "start-demo"
    SUBMIT_MESSAGE = "submit-message"
    TRUST_CERTIFICATE = "trust-certificate"
    UNLINK_ACCOUNT = "unlink-account"
    UPGRADE_BUS = "upgrade-bus"
    UPGRADE_DATABASE = "upgrade-database"
    USE_DATA_KEY = "use-data-key"
    VERIFY_AUDIT = "verify-audit"


NEUTRAL_TEXTS: Mapping[str, str] = {
    HintCode.ADD_ADMINISTRATOR: "Grant another user CREATE on RESOURCE_TYPE:ACL first.",
    HintCode.ADD_APPROVERS: "Add more approvers, other than the users of the configuration.",
    HintCode.ADD_FIRMWARE: "Add a firmware file.",
    HintCode.ADD_PROFILE: "Add a profile for it.",
    HintCode.ADD_SUBJECT: "Add {subject} first.",
    HintCode.ADMIT_ZONE: "Enroll a crypto host, then admit the zone with the code that the enrollment prints.",
    HintCode.ADOPT_WORKSPACE: "Use the original folder, or adopt this one if it is the one to use from now on.",
    HintCode.ASK_FOR_PERMISSION: "Ask an administrator to grant it.",
    HintCode.ASK_FOR_SUBJECT: "Ask an administrator to add {subject}.",
    HintCode.ASK_FOR_TOKEN: "Ask an administrator to create a token for {subject}.",
    HintCode.ASK_TO_ENABLE: "Ask an administrator to enable {subject}.",
    HintCode.CHOOSE_PROFILE: "Choose one of these profiles: {profiles}.",
    HintCode.CONFIRM: "Confirm it.",
    HintCode.CONFIRM_CLOCK: (
        "If the clock is right, wait {remaining_time}, or ask an administrator to confirm it; otherwise, correct it."
    ),
    HintCode.CREATE_SERVER_SETTINGS: "Create one from the example settings.",
    HintCode.CREATE_TOKEN: (
        "It is unknown, revoked or expired, or its owner is disabled. Create a new one, or ask an administrator for"
        " one."
    ),
    HintCode.CREATE_WORKSPACE: "Create a new workspace, or choose another one.",
    HintCode.ENABLE_SUBJECT: "Enable {subject} first.",
    HintCode.ENABLE_TLS: "Set a certificate and its key, or state that a reverse proxy terminates TLS.",
    HintCode.ENROLL_OTP: "Enroll an authenticator first.",
    HintCode.ENTER_OTP: "Enter the one that your authenticator shows now.",
    HintCode.FINISH_MOVE: "Repeat the move to finish it.",
    HintCode.GIVE_REASON: "Enter a reason.",
    HintCode.LIST_CRYPTO_HOSTS: "Check the list of crypto hosts.",
    HintCode.LIST_DEVICES: "Check the list of device configurations.",
    HintCode.LIST_FAILED_DELIVERIES: "Check the list of failed deliveries.",
    HintCode.LIST_FAILED_NOTIFICATIONS: "Check the list of failed notifications.",
    HintCode.LIST_KEYS: "Check the list of keys.",
    HintCode.LIST_NOTIFICATIONS: "Check the list of notification targets.",
    HintCode.LIST_PROFILES: "Check the list of profiles.",
    HintCode.LIST_RULES: "Check the list of rules.",
    HintCode.LIST_SETTINGS: "The example settings list all keys with their defaults.",
    HintCode.LIST_TASKS: "Check the list of tasks.",
    HintCode.LIST_TOKENS: "Check the list of tokens.",
    HintCode.LIST_WEBHOOKS: "Check the list of webhooks.",
    HintCode.LOG_IN: "Log in to {server}, or set SEALYARD_TOKEN.",
    HintCode.RECOVER_WORKSPACE: "Put back the newest copy of the whole workspace, or recover it with this one.",
    HintCode.RENEW_LINK: "Renew the link of task {task_id}.",
    HintCode.REPAIR_NAMES: (
        "A repair replaces it in names that no digest covers. Audit entries and contents of tasks cannot be changed."
    ),
    HintCode.RESET_OTP: "Wait, or ask an administrator to reset it.",
    HintCode.SELECT_WORKSPACE: "Create a workspace, choose one, or log in to a server.",
    HintCode.SHOW_SIGNATURE: "Read the signature from task {task_id}.",
    HintCode.SHOW_TASK: "Check task {task_id} later.",
    HintCode.START_DEMO: "Start one.",
    HintCode.SUBMIT_MESSAGE: "Submit the message itself instead of its digest.",
    HintCode.TRUST_CERTIFICATE: "Check that it is the right server, then trust its CA certificate.",
    HintCode.UNLINK_ACCOUNT: "If this change is intended, ask an administrator to unlink the account of {subject}.",
    HintCode.UPGRADE_BUS: "Upgrade the bus database with the role that owns it.",
    HintCode.UPGRADE_DATABASE: "Upgrade the database with the role that owns its tables.",
    HintCode.USE_DATA_KEY: "Use a device configuration whose signing key is for data.",
    HintCode.VERIFY_AUDIT: "Verify the audit log to find what was changed.",
}
"""Texts that are right in every front end, with the arguments of each code as replacement fields."""


class Hint(msgspec.Struct, frozen=True):
    """A hint for the user: a neutral ``text`` and, if front ends have their own wordings, a ``code`` with ``args``.

    ``code`` is a :class:`HintCode`, or one that this version does not know if a newer server sent it. ``args`` may
    contain untrusted text.
    """

    text: str = ""
    code: str = ""
    args: Mapping[str, str] = {}

    @classmethod
    def of(cls, code: HintCode, **args: str) -> Hint:
        """Return the hint with this code. ``args`` are the replacement fields of its text."""
        return cls(NEUTRAL_TEXTS[code].format_map(args), code, args)

    def word(self, wordings: Mapping[str, str], **fields: object) -> str:
        """Return the hint in the words of a front end. The result may contain untrusted text.

        ``wordings`` has a text for each code; its replacement fields are the arguments and ``fields``. Returns the
        neutral text if the code is unknown or an argument is missing.
        """
        wording = wordings.get(self.code)
        if wording is None:
            return self.text
        try:
            return wording.format_map({**self.args, **fields})
        except KeyError:
            return self.text
