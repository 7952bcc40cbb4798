"""The tables of a workspace: the type of the documents in each, and the fields by which lists can be filtered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from sealyard.model.access import AclRule, Membership, Subject
from sealyard.model.base import FrozenStruct
from sealyard.model.certificate_notices import CertificateNotice
from sealyard.model.credentials import AccessToken, IssuerAccount
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import InvalidInputError
from sealyard.model.events import DurableEvent
from sealyard.model.key_checks import KeyCheck
from sealyard.model.keys import KeyInfo
from sealyard.model.notifications import NotificationSettings, NotificationTarget
from sealyard.model.policy import Policy
from sealyard.model.tasks import Task
from sealyard.model.webhooks import DeadLetter, Webhook
from sealyard.model.worker_messages import JobCheckpoint

V = TypeVar("V", bound=FrozenStruct)


class StoredClientToken(FrozenStruct, frozen=True, kw_only=True):
    """The request that a client token was used for, and its task. Stored under the id ``<subject> <token>``."""

    task_id: str
    request: str  # SHA-256 (hex) of the request


class StoredWebhook(FrozenStruct, frozen=True, kw_only=True):
    """A webhook and its encrypted secret.

    The numbers of pending and undeliverable messages are not stored; they are counted when a webhook is displayed.
    """

    webhook: Webhook
    secret: str


class StoredNotificationTarget(FrozenStruct, frozen=True, kw_only=True):
    """A notification target and its encrypted address. The counts of messages are not stored, as for a webhook."""

    target: NotificationTarget
    address: str


class StoredNotificationSettings(FrozenStruct, frozen=True, kw_only=True):
    """The notification settings and the encrypted password of the mail server's user."""

    settings: NotificationSettings = NotificationSettings()
    password: str | None = None


class OutboxMessage(FrozenStruct, frozen=True, kw_only=True):
    """An event to be sent to a receiver: a webhook or a notification target.

    ``attempts`` counts failed attempts; the next attempt is due at ``retry_at``, or immediately if it is None. Messages
    sort by ``id`` in the order of their events; a message keeps its ``id`` across retries.
    """

    id: str
    receiver_id: str = msgspec.field(name="webhookId")  # the name in workspaces that had webhooks only
    change: DurableEvent
    attempts: int = 0
    retry_at: datetime | None = None


class StoredDeadLetter(FrozenStruct, frozen=True, kw_only=True):
    """A message whose delivery was given up, with everything needed to send it again."""

    dead_letter: DeadLetter
    change: DurableEvent


class StoredAccessToken(FrozenStruct, frozen=True, kw_only=True):
    """An access token and the SHA-256 of its bearer string. The bearer string itself is never stored."""

    token: AccessToken
    sha256: str  # hex, of the whole bearer string


class StoredAccountLink(FrozenStruct, frozen=True, kw_only=True):
    """The identity provider account that a subject is linked to. Stored under the id of the subject."""

    subject: str
    account: IssuerAccount
    created_at: datetime


class StoredArtifactsMove(FrozenStruct, frozen=True, kw_only=True):
    """What a move copied of inputs and results: see :class:`sealyard.model.moves.ArtifactsPlan`.

    ``skipped``: the number of those that were missing or damaged and were left behind.
    """

    source: str
    target: str
    inputs: int
    results: int
    size: int
    skipped: int


class StoredMove(FrozenStruct, frozen=True, kw_only=True):
    """A move of the workspace that has no audit entry yet. ``source`` and ``target``: see :mod:`sealyard.model.moves`.

    ``audit_size`` and ``audit_root`` (hex) are the checkpoint of the source, ``generation`` is that of its store.
    ``repaired``: number of documents and events in which names were changed. ``artifacts``: None if they stayed.
    """

    id: str
    source: str
    target: str
    audit_size: int
    audit_root: str
    generation: int
    repaired: int = 0
    artifacts: StoredArtifactsMove | None = None


NO_STEP = -1
"""The value of :attr:`StoredOneTimePassword.last_step` before the first password has been accepted."""


class StoredOneTimePassword(FrozenStruct, frozen=True, kw_only=True):
    """The secret that a person shares with an authenticator app. Stored under the id of the person.

    ``secret`` is the confirmed secret, ``pending`` one whose enrollment is not confirmed yet; both are encrypted with
    :class:`~sealyard.engine.state.secret_box.SecretBox`. ``last_step`` is the TOTP time step of the last accepted
    password. ``wrong`` counts consecutive wrong passwords since the last lockout.
    """

    secret: str | None = None
    pending: str | None = None
    last_step: int = NO_STEP
    wrong: int = 0
    locked_until: datetime | None = None


@dataclass(frozen=True)
class Table(Generic[V]):
    """A table: its name in the document store and the type of its documents."""

    name: str
    type: type[V]


TASKS = Table("tasks", Task)
CHECKPOINTS = Table("work", JobCheckpoint)
TOKENS = Table("tokens", StoredClientToken)
ACCESS_TOKENS = Table("accessTokens", StoredAccessToken)
ONE_TIME_PASSWORDS = Table("oneTimePasswords", StoredOneTimePassword)
DEVICES = Table("devices", DeviceConfig)
DEVICE_VERSIONS = Table("deviceVersions", DeviceConfig)
KEYS = Table("keys", KeyInfo)
KEY_FAILURES = Table("keyFailures", KeyCheck)
CERTIFICATE_NOTICES = Table("certificateNotices", CertificateNotice)
SUBJECTS = Table("subjects", Subject)
MEMBERSHIPS = Table("memberships", Membership)
RULES = Table("rules", AclRule)
ACCOUNT_LINKS = Table("bindings", StoredAccountLink)
POLICY = Table("policy", Policy)
WEBHOOKS = Table("webhooks", StoredWebhook)
OUTBOX = Table("notices", OutboxMessage)
DEAD_LETTERS = Table("deadNotices", StoredDeadLetter)
NOTIFICATION_TARGETS = Table("notificationTargets", StoredNotificationTarget)
NOTIFICATION_OUTBOX = Table("notifications", OutboxMessage)
NOTIFICATION_DEAD_LETTERS = Table("deadNotifications", StoredDeadLetter)
NOTIFICATION_SETTINGS = Table("notificationSettings", StoredNotificationSettings)
MOVES = Table("moves", StoredMove)

POLICY_ID = "policy"
NOTIFICATION_SETTINGS_ID = "settings"

INDEXES = {
    TASKS.name: ("status", "configId", "createdBy", "kind", "result.state", "reasonCode"),
    ACCOUNT_LINKS.name: ("account.issuer", "account.sub"),
    OUTBOX.name: ("webhookId",),
    DEAD_LETTERS.name: ("deadLetter.webhookId",),
    NOTIFICATION_OUTBOX.name: ("webhookId",),
    NOTIFICATION_DEAD_LETTERS.name: ("deadLetter.webhookId",),
}
"""Indexed fields of each table, in the JSON spelling of the documents."""

ACCESS_TABLES = frozenset({SUBJECTS.name, MEMBERSHIPS.name, RULES.name, ACCOUNT_LINKS.name})
"""Names of the tables whose changes invalidate cached permissions and sign-ins."""


def version_id(config_id: str, version: int) -> str:
    """Return the id under which a version of a device configuration is stored in :data:`DEVICE_VERSIONS`."""
    return f"{config_id}.{version}"


def encode_document(value: FrozenStruct) -> msgspec.Raw:
    """Encode a document as JSON. Raises :class:`InvalidInputError` if a string in it is not valid Unicode."""
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except UnicodeEncodeError as error:
        raise InvalidInputError("A text is not valid Unicode.", "Correct the text and try again.") from error
