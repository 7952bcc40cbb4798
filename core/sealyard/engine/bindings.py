"""Which account of an issuer each subject is, bound for good when it first arrives."""

from __future__ import annotations

import msgspec

from sealyard.engine.ledger import Draft, Ledger
from sealyard.engine.rights import Rights
from sealyard.engine.tables import BINDINGS, Binding
from sealyard.engine.tokens import Tokens
from sealyard.model.access import Action, ResourceType, parse_subject
from sealyard.model.audit import AuditChange
from sealyard.model.credentials import Account
from sealyard.model.errors import ConflictError, NotAllowedError, NotFoundError
from sealyard.model.safe_text import safe_text
from sealyard.model.tasks import Task, TaskStatus

UNDECIDED = (TaskStatus.CREATED, TaskStatus.WAITING)


class Bindings:
    """At most one account for each subject, and one subject for each account.

    An issuer's names change, and change hands (OpenID Connect Core, section 5.7). By names alone one person could ask
    for something under one and approve it under the next, and another person could come into an old one's rights.
    """

    def __init__(self, ledger: Ledger, rights: Rights, tokens: Tokens) -> None:
        self._ledger = ledger
        self._rights = rights
        self._tokens = tokens

    def account_of(self, subject: str) -> Account | None:
        bound = self._ledger.find(BINDINGS, subject)
        return bound.account if bound is not None else None

    def subject_of(self, account: Account) -> str | None:
        filters = {"account.issuer": account.issuer, "account.sub": account.sub}
        page = self._ledger.store.page(BINDINGS.name, filters=filters, limit=1)
        return next((msgspec.convert(document, Binding).subject for _, document in page.documents), None)

    def bind(self, draft: Draft, author: str, subject: str, account: Account) -> None:
        """Together with what ``draft`` does. Neither is to be bound already."""
        made = Binding(subject=subject, account=account, created_at=self._ledger.clock.now())
        draft.put(BINDINGS, subject, made)
        message = f"{subject} is {account_text(account)} from now on"
        draft.audit(author, AuditChange.CREATED, f"SUBJECT:{subject}", message, msgspec.to_builtins(made))

    async def unbind(self, subject: str, bound: str) -> None:
        """From now on the account may come under another name, and another account under this one.

        The name's tokens end: who has them may be neither. Raises :class:`NotAllowedError`, also for oneself,
        :class:`NotFoundError`, and :class:`ConflictError` as long as a task that waits knows the name: its account
        could decide on it once more, under the next one.
        """
        self._rights.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        bound = parse_subject(bound)
        if bound == subject:
            raise NotAllowedError("Nobody lets go of their own account.", "Ask another administrator.")
        account = self.account_of(bound)
        if account is None:
            raise NotFoundError(f"{bound} is bound to no account of an issuer.", "There is nothing to let go of.")
        self._require_decided(bound)
        draft = self._ledger.draft()
        draft.remove(BINDINGS, bound)
        message = f"{bound} is {account_text(account)} no more"
        draft.audit(subject, AuditChange.DELETED, f"SUBJECT:{bound}", message)
        draft.tell(f"SUBJECT:{bound}")
        self._tokens.end_all(draft, subject, bound)
        await draft.commit()

    def _require_decided(self, subject: str) -> None:
        tasks = (each for status in UNDECIDED for each in self._ledger.tasks({"status": status.value}))
        if (task := next((each for each in tasks if _knows(each, subject)), None)) is not None:
            raise ConflictError(
                f"{subject} has to do with task {task.id}, which still waits for approvals.",
                "Have it approved, rejected or cancelled before: its approver could be the same person twice.",
            )


def account_text(account: Account) -> str:
    return f"{safe_text(account.sub)} of {safe_text(account.issuer)}"


def _knows(task: Task, subject: str) -> bool:
    return subject == task.created_by or any(each.by == subject for each in task.approvals)
