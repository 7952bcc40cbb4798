"""Hints for errors, worded for the application: they mention its screens and keys.

For actions that the application does not offer, they name a command to run in a terminal.
"""

from __future__ import annotations

from collections.abc import Mapping

from sealyard.model.errors import ErrorInfo, SealyardError
from sealyard.model.hints import HintCode

WORDINGS: Mapping[str, str] = {
    HintCode.ADD_ADMINISTRATOR: (
        "Grant another user CREATE on the access control list first ({key[access.add_rule]} under {key[app.access]}"
        " Access)."
    ),
    HintCode.ADD_APPROVERS: "Add more approvers, other than the users of the configuration.",
    HintCode.ADD_FIRMWARE: "Press {key[upload.add]} to add a firmware file.",
    HintCode.ADD_PROFILE: "Add one with `sealyard profile add` in a terminal.",
    HintCode.ADD_SUBJECT: "Add {subject} first ({key[access.add_subject]} under {key[app.access]} Access).",
    HintCode.ADMIT_ZONE: (
        "Run `sealyard worker enroll` on a crypto host, then `sealyard worker admit` on the server with the code that"
        " it prints."
    ),
    HintCode.ADOPT_WORKSPACE: (
        "Use the original folder, or run `sealyard recover --adopt` in a terminal if you use this one from now on."
    ),
    HintCode.ASK_FOR_PERMISSION: (
        "Ask an administrator to grant the permission ({key[access.add_rule]} under {key[app.access]} Access)."
    ),
    HintCode.ASK_FOR_SUBJECT: (
        "Ask an administrator to add {subject} ({key[access.add_subject]} under {key[app.access]} Access)."
    ),
    HintCode.ASK_FOR_TOKEN: "Ask an administrator to create a token for {subject} (`sealyard token create`).",
    HintCode.ASK_TO_ENABLE: (
        "Ask an administrator to enable {subject} ({key[access.enable]} under {key[app.access]} Access)."
    ),
    HintCode.CHOOSE_PROFILE: "Press {key[app.profile]} to choose a profile: {profiles}.",
    HintCode.CONFIRM: "Repeat the action and confirm it.",
    HintCode.CONFIRM_CLOCK: (
        "If the clock is right, wait {remaining_time}, or confirm it as an administrator (press {key[app.palette]} and"
        " choose Confirm the system clock); otherwise, correct it."
    ),
    HintCode.CREATE_SERVER_SETTINGS: "Create one with `sealyard config example --server` in a terminal.",
    HintCode.CREATE_TOKEN: (
        "It is unknown, revoked or expired, or its owner is disabled. Ask for a new one (`sealyard token create`), then"
        " use it with `sealyard login` in a terminal."
    ),
    HintCode.CREATE_WORKSPACE: (
        "Create one with `sealyard init` in a terminal, or press {key[app.profile]} to choose another profile."
    ),
    HintCode.ENABLE_SUBJECT: "Enable {subject} first ({key[access.enable]} under {key[app.access]} Access).",
    HintCode.ENABLE_TLS: "Set a certificate and its key with the options of `sealyard serve`.",
    HintCode.ENROLL_OTP: "Enroll an authenticator first: run `sealyard otp enroll` in a terminal.",
    HintCode.ENTER_OTP: "Enter the one that your authenticator shows now.",
    HintCode.FINISH_MOVE: "Run `sealyard workspace move` in a terminal again to finish it.",
    HintCode.GIVE_REASON: "Enter a reason.",
    HintCode.LIST_CRYPTO_HOSTS: (
        "Press {key[app.palette]} and choose About this workspace: it lists the crypto hosts."
    ),
    HintCode.LIST_DEVICES: "{key[app.devices]} Devices lists all device configurations.",
    HintCode.LIST_FAILED_DELIVERIES: "List failed deliveries with `sealyard webhook dead-letters` in a terminal.",
    HintCode.LIST_FAILED_NOTIFICATIONS: "List failed notifications with `sealyard notification failed` in a terminal.",
    HintCode.LIST_KEYS: "{key[app.devices]} Devices shows the keys of each device configuration.",
    HintCode.LIST_NOTIFICATIONS: "List notification targets with `sealyard notification list` in a terminal.",
    HintCode.LIST_PROFILES: "Press {key[app.profile]} to list the profiles.",
    HintCode.LIST_RULES: "{key[app.access]} Access shows the rules.",
    HintCode.LIST_SETTINGS: "`sealyard config example` in a terminal lists all keys with their defaults.",
    HintCode.LIST_TASKS: "{key[app.dashboard]} Dashboard lists all tasks.",
    HintCode.LIST_TOKENS: "List tokens with `sealyard token list` in a terminal.",
    HintCode.LIST_WEBHOOKS: "List webhooks with `sealyard webhook list` in a terminal.",
    HintCode.LOG_IN: "Log in with `sealyard login {server}` in a terminal, or set SEALYARD_TOKEN.",
    HintCode.RECOVER_WORKSPACE: (
        "Put back the newest copy of the workspace, or run `sealyard recover` in a terminal to continue with this."
    ),
    HintCode.RENEW_LINK: "Press {key[dashboard.renew]} on the dashboard to renew the link.",
    HintCode.REPAIR_NAMES: "Run `sealyard workspace move --repair` in a terminal to replace it in names.",
    HintCode.RESET_OTP: "Wait, or ask an administrator to reset it (`sealyard otp reset`).",
    HintCode.SELECT_WORKSPACE: (
        "Create one with `sealyard init`, choose one with the option --profile, or log in with `sealyard login`."
    ),
    HintCode.SHOW_SIGNATURE: "Open the task under {key[app.dashboard]} Dashboard to read the signature.",
    HintCode.SHOW_TASK: "Check it later under {key[app.dashboard]} Dashboard.",
    HintCode.START_DEMO: "Start one with `sealyard demo` in a terminal.",
    HintCode.SUBMIT_MESSAGE: "Press {key[upload.signing_input]} in the form to sign the file itself.",
    HintCode.TRUST_CERTIFICATE: (
        "Check that it is the right server, then trust its CA certificate (`sealyard login --ca FILE`)."
    ),
    HintCode.UNLINK_ACCOUNT: (
        "If this change is intended, ask an administrator to unlink the account (`sealyard subject unlink {subject}`)."
    ),
    HintCode.UPGRADE_BUS: "Run `sealyard bus upgrade` in a terminal, with the role that owns the database.",
    HintCode.UPGRADE_DATABASE: "Run `sealyard db upgrade` in a terminal, with the role that owns the tables.",
    HintCode.USE_DATA_KEY: "Use a device configuration whose keys are for signing data.",
    HintCode.VERIFY_AUDIT: "Press {key[audit.verify]} under {key[app.audit]} Audit to find what was changed.",
}


def app_hint(error: SealyardError | ErrorInfo, keys: Mapping[str, str]) -> str:
    """Return the hint for ``error``. The hint may contain untrusted text.

    ``keys``: the keys of all actions, from :func:`action_keys`.
    """
    return error.structured_hint.word(WORDINGS, key=keys)


def error_text(error: SealyardError | ErrorInfo, keys: Mapping[str, str]) -> str:
    """Return the message of ``error``, followed by its hint. Both may contain untrusted text.

    ``keys``: the keys of all actions, from :func:`action_keys`.
    """
    return f"{error.message} {app_hint(error, keys)}".rstrip()
