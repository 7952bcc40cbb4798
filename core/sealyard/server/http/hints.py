"""Hint texts for clients of the REST API. They name the request to send or the member to set."""

from __future__ import annotations

from collections.abc import Mapping

from sealyard.model.errors import SealyardError
from sealyard.model.hints import HintCode

_NOT_IN_API = ""

WORDINGS: Mapping[str, str] = {
    HintCode.ADD_ADMINISTRATOR: "Grant another user CREATE on RESOURCE_TYPE:ACL with POST /api/v1/acl first.",
    HintCode.ADD_APPROVERS: "Give APPROVE to more subjects in acl, other than those with USE.",
    HintCode.ADD_FIRMWARE: "Send at least one file, or one id in inputIds.",
    HintCode.ADD_PROFILE: _NOT_IN_API,
    HintCode.ADD_SUBJECT: "POST /api/v1/acl/subjects adds {subject}.",
    HintCode.ADMIT_ZONE: _NOT_IN_API,
    HintCode.ADOPT_WORKSPACE: _NOT_IN_API,
    HintCode.ASK_FOR_PERMISSION: "An administrator can grant it with POST /api/v1/acl.",
    HintCode.ASK_FOR_SUBJECT: "An administrator can add {subject} with POST /api/v1/acl/subjects.",
    HintCode.ASK_FOR_TOKEN: "An administrator can create a token for {subject} with POST /api/v1/token.",
    HintCode.ASK_TO_ENABLE: "An administrator can enable it with PATCH /api/v1/acl/subjects/{subject}.",
    HintCode.CHOOSE_PROFILE: _NOT_IN_API,
    HintCode.CONFIRM: "Repeat the request with confirmed=true.",
    HintCode.CONFIRM_CLOCK: "An administrator can confirm the clock with POST /api/v1/workspace/clockConfirmation.",
    HintCode.CREATE_SERVER_SETTINGS: _NOT_IN_API,
    HintCode.CREATE_TOKEN: "POST /api/v1/token creates a token.",
    HintCode.CREATE_WORKSPACE: _NOT_IN_API,
    HintCode.ENABLE_SUBJECT: "PATCH /api/v1/acl/subjects/{subject} with the state ACTIVE enables it.",
    HintCode.ENABLE_TLS: _NOT_IN_API,
    HintCode.ENROLL_OTP: "POST /api/v1/oneTimePassword starts an enrollment.",
    HintCode.ENTER_OTP: "Send the one that the authenticator shows now as oneTimePassword.",
    HintCode.FINISH_MOVE: _NOT_IN_API,
    HintCode.GIVE_REASON: "Send a reason in the request.",
    HintCode.LIST_CRYPTO_HOSTS: "GET /api/v1/zone lists the crypto hosts.",
    HintCode.LIST_DEVICES: "GET /api/v1/deviceConfig lists device configurations.",
    HintCode.LIST_FAILED_DELIVERIES: "GET /api/v1/webhook/{{webhook_id}}/deadLetter lists failed deliveries.",
    HintCode.LIST_FAILED_NOTIFICATIONS: (
        "GET /api/v1/notification/target/{{target_id}}/failed lists failed notifications."
    ),
    HintCode.LIST_KEYS: "GET /api/v1/key lists keys.",
    HintCode.LIST_NOTIFICATIONS: "GET /api/v1/notification/target lists notification targets.",
    HintCode.LIST_PROFILES: _NOT_IN_API,
    HintCode.LIST_RULES: "GET /api/v1/acl lists rules.",
    HintCode.LIST_SETTINGS: _NOT_IN_API,
    HintCode.LIST_TASKS: "GET /api/v1/task lists tasks.",
    HintCode.LIST_TOKENS: "GET /api/v1/token lists tokens.",
    HintCode.LIST_WEBHOOKS: "GET /api/v1/webhook lists webhooks.",
    HintCode.LOG_IN: _NOT_IN_API,
    HintCode.RECOVER_WORKSPACE: _NOT_IN_API,
    HintCode.RENEW_LINK: "POST /api/v1/task/{task_id}/renewal renews the link.",
    HintCode.REPAIR_NAMES: _NOT_IN_API,
    HintCode.RESET_OTP: "An administrator can reset it with DELETE /api/v1/oneTimePassword/{{subject}}.",
    HintCode.SELECT_WORKSPACE: _NOT_IN_API,
    HintCode.SHOW_SIGNATURE: "GET /api/v1/task/{task_id} returns the signature.",
    HintCode.SHOW_TASK: "GET /api/v1/task/{task_id} returns the task.",
    HintCode.START_DEMO: _NOT_IN_API,
    HintCode.SUBMIT_MESSAGE: "Send the message in inputBase64, not its digest.",
    HintCode.TRUST_CERTIFICATE: _NOT_IN_API,
    HintCode.UNLINK_ACCOUNT: "An administrator can unlink it with DELETE /api/v1/acl/subjects/{subject}/account.",
    HintCode.UPGRADE_BUS: _NOT_IN_API,
    HintCode.UPGRADE_DATABASE: _NOT_IN_API,
    HintCode.USE_DATA_KEY: "Use a device configuration created with the purpose data.",
    HintCode.VERIFY_AUDIT: "POST /api/v1/auditlog/verification finds what was changed.",
}
"""Text of each hint for clients of the API, by hint code; empty if such clients cannot follow the hint."""


def format_api_hint(error: SealyardError) -> str:
    """Format the hint of ``error`` for clients of the API. Returns an empty string if they cannot follow the hint."""
    hint = error.structured_hint
    return hint.word(WORDINGS) if hint.code else ""
