"""Access tokens: our own bearer tokens, for people and machine clients who reach the workspace over a network.

``sy_<id>_<secret>``: the id is public, the secret is 256 random bits in hex. Only its SHA-256 is kept: what is random
enough to be guessed by nobody needs no slow hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime, timedelta

import msgspec

from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository, UnitOfWork
from sealyard.engine.state.tables import ACCESS_TOKENS, StoredAccessToken
from sealyard.model.access import Action, ResourceType, SubjectKind, parse_subject, resource_type_uri, subject_kind
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import AccessToken, IssuedToken, PresentedToken, TokenRequest
from sealyard.model.errors import AuthenticationError, NotFoundError, PermissionDeniedError, UsageError
from sealyard.model.safe_text import escape_text

MIN_TTL = 60
MAX_TTL = 365 * 24 * 3600
DEFAULT_TTL = 90 * 24 * 3600
LONGEST_NAME = 80

_BEARER = re.compile(r"sy_([0-9a-z]{10})_[0-9a-f]{64}")


class AccessTokens:
    """One's own are everybody's to make and to revoke; those of others want the right to add subjects.

    No token grows out of another that ends sooner: whoever has a stolen one would keep what it opens.
    """

    def __init__(self, ledger: Repository, rights: Permissions) -> None:
        self._ledger = ledger
        self._rights = rights

    def list_tokens(self, subject: str) -> tuple[AccessToken, ...]:
        """Newest first, those that ended too."""
        tokens = (each.token for each in self._ledger.list_all(ACCESS_TOKENS))
        seen = [each for each in tokens if self._may_see(subject, each)]
        return tuple(sorted(seen, key=lambda each: (each.created_at, each.id), reverse=True))

    async def create(self, subject: str, request: TokenRequest, shown: PresentedToken | None = None) -> IssuedToken:
        """``shown``: what ``subject`` asks with; None at the workspace itself, whose owner is believed.

        Raises :class:`UsageError`, :class:`PermissionDeniedError`, :class:`NotFoundError`.
        """
        owner = parse_subject(request.subject) if request.subject is not None else subject
        self._require_owner(subject, owner)
        now = self._ledger.clock.now()
        latest = self._max_expiry(subject, owner, shown)
        token = AccessToken(
            id=new_id(),
            name=_checked_name(request.name),
            subject=owner,
            created_by=subject,
            created_at=now,
            expires_at=_expiry(now, request.seconds, latest),
            is_machine=request.is_machine or subject_kind(owner) is SubjectKind.CLIENT,
        )
        secret = f"sy_{token.id}_{secrets.token_hex(32)}"
        draft = self._ledger.begin()
        draft.put(ACCESS_TOKENS, token.id, StoredAccessToken(token=token, sha256=_hashed(secret)))
        message = f"token {escape_text(token.name)} of {owner}"
        draft.audit(subject, AuditAction.CREATED, f"TOKEN:{token.id}", message, msgspec.to_builtins(token))
        draft.notify(f"TOKEN:{token.id}")
        await draft.commit()
        return IssuedToken(token=token, secret=secret)

    async def revoke(self, subject: str, token_id: str) -> None:
        """From now on it opens nothing. Raises :class:`NotFoundError`."""
        stored = self._ledger.get(ACCESS_TOKENS, token_id)
        if stored is None or not self._may_see(subject, stored.token):
            raise NotFoundError(
                f"There is no token {escape_text(token_id, 80)}.", "`sealyard token list` shows the tokens."
            )
        if stored.token.revoked_at is not None:
            return
        draft = self._ledger.begin()
        self._expiry(draft, subject, stored)
        await draft.commit()

    def revoke_all(self, draft: UnitOfWork, author: str, owner: str) -> None:
        """Revokes what tokens ``owner`` has, together with what ``draft`` does."""
        for stored in self._ledger.list_all(ACCESS_TOKENS):
            if stored.token.subject == owner and stored.token.revoked_at is None:
                self._expiry(draft, author, stored)

    def authenticate(self, secret: str) -> AccessToken:
        """Whose token it is, at the cost of a look-up and a hash; from any thread.

        Raises :class:`AuthenticationError`, in the same words whatever is wrong with it.
        """
        parts = _BEARER.fullmatch(secret)
        stored = self._ledger.get(ACCESS_TOKENS, parts[1]) if parts is not None else None
        if stored is None or not hmac.compare_digest(_hashed(secret), stored.sha256):
            raise invalid_token()
        token = stored.token
        if token.revoked_at is not None or self._ledger.clock.now() >= token.expires_at:
            raise invalid_token()
        return token

    def _expiry(self, draft: UnitOfWork, author: str, stored: StoredAccessToken) -> None:
        token = msgspec.structs.replace(stored.token, revoked_at=self._ledger.clock.now())
        draft.put(ACCESS_TOKENS, token.id, msgspec.structs.replace(stored, token=token))
        message = f"token {escape_text(token.name)} of {token.subject} is revoked"
        draft.audit(author, AuditAction.DELETED, f"TOKEN:{token.id}", message)
        draft.notify(f"TOKEN:{token.id}")

    def _require_owner(self, subject: str, owner: str) -> None:
        if owner == subject:
            return
        self._rights.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        if not self._rights.contains(owner):
            raise NotFoundError(f"There is no subject {owner}.", f"Add it first: sealyard subject add {owner}")
        if subject_kind(owner) is SubjectKind.GROUP:
            raise UsageError("A group has no tokens: it does nothing itself.", "Make one for each of its members.")

    def _max_expiry(self, subject: str, owner: str, shown: PresentedToken | None) -> datetime | None:
        """When a new token has to end because the one that was shown does; None where that does not matter."""
        if shown is None or owner != subject:
            return None
        if shown.external:
            raise PermissionDeniedError(
                "Who comes with an issuer's token makes no token for themselves: it would outlive the issuer's word.",
                f"Ask an administrator for one: sealyard token create NAME --subject {subject}",
            )
        return None if self._adds_subjects(subject) else shown.expires_at

    def _may_see(self, subject: str, token: AccessToken) -> bool:
        return subject == token.subject or self._adds_subjects(subject)

    def _adds_subjects(self, subject: str) -> bool:
        return self._rights.is_allowed(subject, Action.CREATE, resource_type_uri(ResourceType.SUBJECT))


def _checked_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_NAME:
        raise UsageError(f"A token has a name of 1 to {LONGEST_NAME} characters.", "Name what it is for, such as ci.")
    return name


def _validate_ttl(seconds: int) -> timedelta:
    if not MIN_TTL <= seconds <= MAX_TTL:
        raise UsageError("A token lasts at least a minute and at most a year.", "Write 1h, 30d or 365d.")
    return timedelta(seconds=seconds)


def _expiry(now: datetime, seconds: int | None, latest: datetime | None) -> datetime:
    """Only a time that was asked for is refused; the usual one is shortened."""
    end = now + _validate_ttl(DEFAULT_TTL if seconds is None else seconds)
    if latest is None or end <= latest:
        return end
    if seconds is None:
        return latest
    raise PermissionDeniedError(
        f"The token that you ask with ends at {latest:%Y-%m-%d %H:%M:%S} UTC: none that it makes for you lasts longer.",
        "Ask for one that ends by then, or give no time; an administrator can make one that lasts longer.",
    )


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def invalid_token() -> AuthenticationError:
    """The same words whatever is wrong with a token, or with the place it is shown at."""
    return AuthenticationError(
        "The access token is not valid.",
        "It is unknown, revoked or expired: ask for a new one (sealyard token create).",
    )
