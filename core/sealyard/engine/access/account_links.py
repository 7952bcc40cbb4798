"""Permanent links between subjects and accounts of an identity provider, created at the first sign-in."""

from __future__ import annotations

import msgspec

from sealyard.engine.access.tokens import AccessTokens
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import ACCOUNT_LINKS, StoredAccountLink
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import Action, ResourceType, parse_subject
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import IssuerAccount
from sealyard.model.errors import ConflictError, NotFoundError, PermissionDeniedError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task, TaskStatus

OPEN_STATUSES = (TaskStatus.CREATED, TaskStatus.WAITING)


class AccountLinks:
    """Registry of account links: at most one account per subject, and one subject per account.

    An issuer may rename an account, and may assign a released name to another person (OpenID Connect Core 1.0,
    section 5.7). If subjects were matched by name alone, a person could request a task under one name and approve it
    under the next, and a new owner of a name would inherit the permissions of the previous one.
    """

    def __init__(self, repository: Repository, permissions: Permissions, tokens: AccessTokens) -> None:
        self._repository = repository
        self._permissions = permissions
        self._tokens = tokens

    def account_of(self, subject: str) -> IssuerAccount | None:
        link = self._repository.get(ACCOUNT_LINKS, subject)
        return link.account if link is not None else None

    def subject_of(self, account: IssuerAccount) -> str | None:
        filters = {"account.issuer": account.issuer, "account.sub": account.sub}
        page = self._repository.store.page(ACCOUNT_LINKS.name, filters=filters, limit=1)
        return next((msgspec.convert(document, StoredAccountLink).subject for _, document in page.documents), None)

    def link(self, unit_of_work: UnitOfWork, author: str, subject: str, account: IssuerAccount) -> None:
        """Add a link between ``subject`` and ``account`` to the unit of work.

        The caller must have checked that neither of them is linked yet.
        """
        link = StoredAccountLink(subject=subject, account=account, created_at=self._repository.clock.now())
        unit_of_work.put(ACCOUNT_LINKS, subject, link)
        message = f"{subject} linked to {format_account(account)}"
        unit_of_work.audit(author, AuditAction.CREATED, f"SUBJECT:{subject}", message, msgspec.to_builtins(link))

    async def unlink(self, subject: str, linked_subject: str) -> None:
        """Delete the account link of ``linked_subject``.

        Afterwards the account can sign in as another subject, and another account as ``linked_subject``. Also revokes
        the access tokens of ``linked_subject``, because it is unknown who has them.

        Raises :class:`PermissionDeniedError` if ``subject`` may not add subjects or is ``linked_subject`` itself,
        :class:`NotFoundError` if there is no link, and :class:`ConflictError` if ``linked_subject`` created or approved
        a task that is still waiting for approval: the owner of the account could approve it again as another subject.
        """
        self._permissions.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        linked_subject = parse_subject(linked_subject)
        if linked_subject == subject:
            raise PermissionDeniedError("You cannot unlink your own account.", "Ask another administrator.")
        account = self.account_of(linked_subject)
        if account is None:
            raise NotFoundError(
                f"{linked_subject} is not linked to an identity-provider account.", "There is nothing to unlink."
            )
        self._require_no_open_task(linked_subject)
        unit_of_work = self._repository.begin()
        unit_of_work.delete(ACCOUNT_LINKS, linked_subject)
        message = f"{linked_subject} unlinked from {format_account(account)}"
        old_value = msgspec.to_builtins(self._repository.get(ACCOUNT_LINKS, linked_subject))
        unit_of_work.audit(subject, AuditAction.DELETED, f"SUBJECT:{linked_subject}", message, old_value=old_value)
        unit_of_work.notify(f"SUBJECT:{linked_subject}")
        self._tokens.revoke_all(unit_of_work, subject, linked_subject)
        await unit_of_work.commit()

    def _require_no_open_task(self, subject: str) -> None:
        open_tasks = (task for status in OPEN_STATUSES for task in self._repository.tasks({"status": status.value}))
        if (task := next((task for task in open_tasks if _involves(task, subject)), None)) is not None:
            raise ConflictError(
                f"{subject} created or decided on task {task.id}, which is still waiting for approvals.",
                "Have the task approved, rejected or cancelled first: otherwise one person could decide on it twice.",
            )


def format_account(account: IssuerAccount) -> str:
    return f"{escape_text(account.sub)} of {escape_text(account.issuer)}"


def _involves(task: Task, subject: str) -> bool:
    return subject == task.created_by or any(decision.by == subject for decision in task.approvals)
