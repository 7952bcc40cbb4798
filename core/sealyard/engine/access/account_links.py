"""Which account of an issuer each subject is, bound for good when it first arrives."""

from __future__ import annotations

import msgspec

from sealyard.engine.access.tokens import AccessTokens
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository, UnitOfWork
from sealyard.engine.state.tables import ACCOUNT_LINKS, StoredAccountLink
from sealyard.model.access import Action, ResourceType, parse_subject
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import IssuerAccount
from sealyard.model.errors import ConflictError, NotFoundError, PermissionDeniedError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task, TaskStatus

OPEN_STATUSES = (TaskStatus.CREATED, TaskStatus.WAITING)


class AccountLinks:
    """At most one account for each subject, and one subject for each account.

    An issuer's names change, and change hands (OpenID Connect Core, section 5.7). By names alone one person could ask
    for something under one and approve it under the next, and another person could come into an old one's rights.
    """

    def __init__(self, ledger: Repository, rights: Permissions, tokens: AccessTokens) -> None:
        self._ledger = ledger
        self._rights = rights
        self._tokens = tokens

    def account_of(self, subject: str) -> IssuerAccount | None:
        bound = self._ledger.get(ACCOUNT_LINKS, subject)
        return bound.account if bound is not None else None

    def subject_of(self, account: IssuerAccount) -> str | None:
        filters = {"account.issuer": account.issuer, "account.sub": account.sub}
        page = self._ledger.store.page(ACCOUNT_LINKS.name, filters=filters, limit=1)
        return next((msgspec.convert(document, StoredAccountLink).subject for _, document in page.documents), None)

    def link(self, draft: UnitOfWork, author: str, subject: str, account: IssuerAccount) -> None:
        """Together with what ``draft`` does. Neither is to be bound already."""
        made = StoredAccountLink(subject=subject, account=account, created_at=self._ledger.clock.now())
        draft.put(ACCOUNT_LINKS, subject, made)
        message = f"{subject} is {format_account(account)} from now on"
        draft.audit(author, AuditAction.CREATED, f"SUBJECT:{subject}", message, msgspec.to_builtins(made))

    async def unlink(self, subject: str, bound: str) -> None:
        """From now on the account may come under another name, and another account under this one.

        The name's tokens end: who has them may be neither. Raises :class:`PermissionDeniedError`, also for oneself,
        :class:`NotFoundError`, and :class:`ConflictError` as long as a task that waits knows the name: its account
        could decide on it once more, under the next one.
        """
        self._rights.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        bound = parse_subject(bound)
        if bound == subject:
            raise PermissionDeniedError("Nobody lets go of their own account.", "Ask another administrator.")
        account = self.account_of(bound)
        if account is None:
            raise NotFoundError(f"{bound} is bound to no account of an issuer.", "There is nothing to let go of.")
        self._require_decided(bound)
        draft = self._ledger.begin()
        draft.delete(ACCOUNT_LINKS, bound)
        message = f"{bound} is {format_account(account)} no more"
        draft.audit(subject, AuditAction.DELETED, f"SUBJECT:{bound}", message)
        draft.notify(f"SUBJECT:{bound}")
        self._tokens.revoke_all(draft, subject, bound)
        await draft.commit()

    def _require_decided(self, subject: str) -> None:
        tasks = (each for status in OPEN_STATUSES for each in self._ledger.tasks({"status": status.value}))
        if (task := next((each for each in tasks if _involves(each, subject)), None)) is not None:
            raise ConflictError(
                f"{subject} has to do with task {task.id}, which still waits for approvals.",
                "Have it approved, rejected or cancelled before: its approver could be the same person twice.",
            )


def format_account(account: IssuerAccount) -> str:
    return f"{escape_text(account.sub)} of {escape_text(account.issuer)}"


def _involves(task: Task, subject: str) -> bool:
    return subject == task.created_by or any(each.by == subject for each in task.approvals)
