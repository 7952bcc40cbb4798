"""The tables of a workspace: what is kept in each, and how a list of it can be narrowed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from sealyard.model.access import AclRule, Membership, Subject
from sealyard.model.base import FrozenStruct
from sealyard.model.credentials import AccessToken, IssuerAccount
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.events import TaskChanged
from sealyard.model.keys import KeyInfo
from sealyard.model.policy import Policy
from sealyard.model.tasks import Task
from sealyard.model.webhooks import DeadLetter, Webhook
from sealyard.model.worker_messages import JobCheckpoint

V = TypeVar("V", bound=FrozenStruct)


class StoredClientToken(FrozenStruct, frozen=True, kw_only=True):
    """A client token once used, by ``<subject> <token>``, and what came of it."""

    task_id: str
    request: str  # SHA-256 (hex) of what was asked for


class StoredWebhook(FrozenStruct, frozen=True, kw_only=True):
    """A webhook and its secret, sealed. How many wait or are dead is counted where it is shown."""

    webhook: Webhook
    secret: str


class OutboxMessage(FrozenStruct, frozen=True, kw_only=True):
    """A change that a webhook is to be told of; not again before ``retry_at``, after ``attempts`` that failed.

    ``id``: by it they are listed in their order. It stays the same however often it is sent.
    """

    id: str
    webhook_id: str
    change: TaskChanged
    attempts: int = 0
    retry_at: datetime | None = None


class StoredDeadLetter(FrozenStruct, frozen=True, kw_only=True):
    """What was given up, with all it takes to be taken up again."""

    dead_letter: DeadLetter
    change: TaskChanged


class StoredAccessToken(FrozenStruct, frozen=True, kw_only=True):
    """A token by its id, and what it is recognised by: never the token itself."""

    token: AccessToken
    sha256: str  # hex, of the whole bearer token


class StoredAccountLink(FrozenStruct, frozen=True, kw_only=True):
    """Which account of an issuer a subject is, by the subject."""

    subject: str
    account: IssuerAccount
    created_at: datetime


NO_STEP = -1
"""Before the first password was accepted."""


class StoredOneTimePassword(FrozenStruct, frozen=True, kw_only=True):
    """A person's secret shared with an authenticator, by the person's subject.

    ``secret`` and ``pending`` (not confirmed yet) are sealed (:mod:`sealyard.engine.state.secret_box`). ``last_step``:
    the last one whose password was accepted. ``wrong``: how many in a row, since the last lock.
    """

    secret: str | None = None
    pending: str | None = None
    last_step: int = NO_STEP
    wrong: int = 0
    locked_until: datetime | None = None


@dataclass(frozen=True)
class Table(Generic[V]):
    """A name in the store and the type of its values."""

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
SUBJECTS = Table("subjects", Subject)
MEMBERSHIPS = Table("memberships", Membership)
RULES = Table("rules", AclRule)
ACCOUNT_LINKS = Table("bindings", StoredAccountLink)
POLICY = Table("policy", Policy)
WEBHOOKS = Table("webhooks", StoredWebhook)
OUTBOX = Table("notices", OutboxMessage)
DEAD_LETTERS = Table("deadNotices", StoredDeadLetter)

POLICY_ID = "policy"

INDEXES = {
    TASKS.name: ("status", "configId", "createdBy", "kind", "result.state"),
    ACCOUNT_LINKS.name: ("account.issuer", "account.sub"),
    OUTBOX.name: ("webhookId",),
    DEAD_LETTERS.name: ("letter.webhookId",),
}

ACCESS_TABLES = frozenset({SUBJECTS.name, MEMBERSHIPS.name, RULES.name, ACCOUNT_LINKS.name})


def version_id(config_id: str, version: int) -> str:
    return f"{config_id}.{version}"
