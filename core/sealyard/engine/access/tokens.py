"""Access tokens: bearer tokens for people and machine clients that use the workspace over a network.

A token is written ``sy_<id>_<secret>``: the id is public, the secret is 256 random bits in hexadecimal. The workspace
stores only the SHA-256 of the token. A slow password hash is unnecessary, because the secret has too much entropy to
be guessed.
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
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.subjects import is_active, require_active
from sealyard.engine.state.tables import ACCESS_TOKENS, StoredAccessToken
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import Action, ResourceType, SubjectKind, parse_subject, resource_type_uri, subject_kind
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import AccessToken, IssuedToken, PresentedToken, TokenRequest
from sealyard.model.errors import AuthenticationError, NotFoundError, PermissionDeniedError, UsageError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text

MIN_TTL = 60
MAX_TTL = 365 * 24 * 3600
DEFAULT_TTL = 90 * 24 * 3600
"""Lifetime of a token if the request names none. All three lifetimes are in seconds."""

MAX_NAME_LENGTH = 80

_BEARER = re.compile(r"sy_([0-9a-z]{10})_[0-9a-f]{64}")


class AccessTokens:
    """Issues, revokes and checks access tokens.

    Every subject may create and revoke its own tokens. For tokens of another subject, it needs the permission to add
    subjects. Without that permission, a subject that authenticated with a token cannot create one that expires later:
    otherwise a thief could prolong the access that a stolen token grants.
    """

    def __init__(self, repository: Repository, permissions: Permissions) -> None:
        self._repository = repository
        self._permissions = permissions

    def list_tokens(self, subject: str) -> tuple[AccessToken, ...]:
        """Return the tokens that ``subject`` may see, newest first. Expired and revoked tokens are included."""
        tokens = (stored_token.token for stored_token in self._repository.list_all(ACCESS_TOKENS))
        visible_tokens = [token for token in tokens if self._may_see(subject, token)]
        return tuple(sorted(visible_tokens, key=lambda token: (token.created_at, token.id), reverse=True))

    async def create(
        self, subject: str, request: TokenRequest, presented_token: PresentedToken | None = None
    ) -> IssuedToken:
        """Issue a token. Its owner is the subject that the request names, or ``subject`` if the request names none.

        ``presented_token`` is the token with which ``subject`` authenticated; None for local access to the workspace,
        which needs no token.

        Raises :class:`UsageError` if the name or lifetime is out of range or the owner is a group,
        :class:`PermissionDeniedError` if ``subject`` may not create the token or may not give it this lifetime, and
        :class:`NotFoundError` if the owner is unknown.
        """
        owner = parse_subject(request.subject) if request.subject is not None else subject
        self._require_valid_owner(subject, owner)
        now = self._repository.clock.now()
        max_expires_at = self._compute_max_expiry(subject, owner, presented_token)
        token = AccessToken(
            id=new_id(),
            name=_validate_name(request.name),
            subject=owner,
            created_by=subject,
            created_at=now,
            expires_at=_compute_expiry(now, request.seconds, max_expires_at),
            is_machine=request.is_machine or subject_kind(owner) is SubjectKind.CLIENT,
        )
        secret = f"sy_{token.id}_{secrets.token_hex(32)}"
        unit_of_work = self._repository.begin()
        unit_of_work.put(ACCESS_TOKENS, token.id, StoredAccessToken(token=token, sha256=_hash_secret(secret)))
        message = f"token {escape_text(token.name)} created for {owner}"
        unit_of_work.audit(subject, AuditAction.CREATED, f"TOKEN:{token.id}", message, msgspec.to_builtins(token))
        unit_of_work.notify(f"TOKEN:{token.id}")
        await unit_of_work.commit()
        return IssuedToken(token=token, secret=secret)

    async def revoke(self, subject: str, token_id: str) -> None:
        """Revoke a token. Does nothing if the token is already revoked.

        Raises :class:`NotFoundError` if there is no such token or ``subject`` may not see it.
        """
        stored_token = self._repository.get(ACCESS_TOKENS, token_id)
        if stored_token is None or not self._may_see(subject, stored_token.token):
            raise NotFoundError(f"Token {escape_text(token_id, 80)} not found.", Hint.of(HintCode.LIST_TOKENS))
        if stored_token.token.revoked_at is not None:
            return
        unit_of_work = self._repository.begin()
        self._revoke(unit_of_work, subject, stored_token)
        await unit_of_work.commit()

    def revoke_all(self, unit_of_work: UnitOfWork, author: str, owner: str) -> None:
        """Add the revocation of all tokens of ``owner`` to the unit of work."""
        for stored_token in self._repository.list_all(ACCESS_TOKENS):
            if stored_token.token.subject == owner and stored_token.token.revoked_at is None:
                self._revoke(unit_of_work, author, stored_token)

    def authenticate(self, secret: str) -> AccessToken:
        """Return the token whose bearer string is ``secret``. May be called from any thread.

        Costs two lookups and one hash. Raises :class:`AuthenticationError` if the token is unknown, revoked or expired,
        or its subject is not active, with the same message in all cases.
        """
        match = _BEARER.fullmatch(secret)
        stored_token = self._repository.get(ACCESS_TOKENS, match[1]) if match is not None else None
        if stored_token is None or not hmac.compare_digest(_hash_secret(secret), stored_token.sha256):
            raise invalid_token()
        token = stored_token.token
        if token.revoked_at is not None or self._repository.clock.now() >= token.expires_at:
            raise invalid_token()
        if not is_active(self._repository, token.subject):
            raise invalid_token()
        return token

    def delete_all(self, unit_of_work: UnitOfWork, author: str, owner: str) -> None:
        """Add the deletion of all tokens of ``owner``, who is removed from the workspace, to the unit of work."""
        for token in self.tokens_of(owner):
            unit_of_work.delete(ACCESS_TOKENS, token.id)
            message = f"token {escape_text(token.name)} of {owner} deleted"
            old_value = msgspec.to_builtins(token)
            unit_of_work.audit(author, AuditAction.DELETED, f"TOKEN:{token.id}", message, old_value=old_value)
            unit_of_work.notify(f"TOKEN:{token.id}")

    def tokens_of(self, owner: str) -> tuple[AccessToken, ...]:
        """Return all tokens of ``owner``, including expired and revoked ones."""
        tokens = (stored_token.token for stored_token in self._repository.list_all(ACCESS_TOKENS))
        return tuple(token for token in tokens if token.subject == owner)

    def _revoke(self, unit_of_work: UnitOfWork, author: str, stored_token: StoredAccessToken) -> None:
        token = msgspec.structs.replace(stored_token.token, revoked_at=self._repository.clock.now())
        unit_of_work.put(ACCESS_TOKENS, token.id, msgspec.structs.replace(stored_token, token=token))
        message = f"token {escape_text(token.name)} of {token.subject} revoked"
        old_value = msgspec.to_builtins(stored_token.token)
        unit_of_work.audit(author, AuditAction.DELETED, f"TOKEN:{token.id}", message, old_value=old_value)
        unit_of_work.notify(f"TOKEN:{token.id}")

    def _require_valid_owner(self, subject: str, owner: str) -> None:
        if owner == subject:
            return
        self._permissions.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        require_active(self._repository, owner)
        if subject_kind(owner) is SubjectKind.GROUP:
            raise UsageError("Groups cannot have tokens.", "Create a token for each member.")

    def _compute_max_expiry(self, subject: str, owner: str, presented_token: PresentedToken | None) -> datetime | None:
        """Return the latest time at which a new token may expire, or None if there is no such limit.

        A token that ``subject`` creates for itself must not outlive the presented one, unless ``subject`` may add
        subjects. Raises :class:`PermissionDeniedError` if the presented token is that of an identity provider.
        """
        if presented_token is None or owner != subject:
            return None
        if presented_token.external:
            raise PermissionDeniedError(
                "You cannot create a token while logged in with an identity-provider token.",
                Hint.of(HintCode.ASK_FOR_TOKEN, subject=subject),
            )
        return None if self._may_add_subjects(subject) else presented_token.expires_at

    def _may_see(self, subject: str, token: AccessToken) -> bool:
        return subject == token.subject or self._may_add_subjects(subject)

    def _may_add_subjects(self, subject: str) -> bool:
        return self._permissions.is_allowed(subject, Action.CREATE, resource_type_uri(ResourceType.SUBJECT))


def _validate_name(name: str) -> str:
    name = name.strip()
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise UsageError(
            f"A token name must have 1 to {MAX_NAME_LENGTH} characters.", "Use a name for its purpose, such as ci."
        )
    return name


def _validate_ttl(seconds: int) -> timedelta:
    if not MIN_TTL <= seconds <= MAX_TTL:
        raise UsageError(
            "The lifetime of a token must be between one minute and one year.",
            "Use a duration such as 1h, 30d or 365d.",
        )
    return timedelta(seconds=seconds)


def _compute_expiry(now: datetime, seconds: int | None, max_expires_at: datetime | None) -> datetime:
    """Return when a new token with a lifetime of ``seconds`` expires.

    If ``seconds`` is None, the default lifetime is used, shortened to end at ``max_expires_at``. Raises
    :class:`UsageError` if the lifetime is out of range, and :class:`PermissionDeniedError` if the token would expire
    after ``max_expires_at``.
    """
    expires_at = now + _validate_ttl(DEFAULT_TTL if seconds is None else seconds)
    if max_expires_at is None or expires_at <= max_expires_at:
        return expires_at
    if seconds is None:
        return max_expires_at
    raise PermissionDeniedError(
        f"A token cannot create a token that outlives it; the one you use expires at"
        f" {max_expires_at:%Y-%m-%d %H:%M:%S} UTC.",
        "Choose a shorter lifetime or none, or ask an administrator to create a token that lasts longer.",
    )


def _hash_secret(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def invalid_token() -> AuthenticationError:
    """Return the error for an access token that is not accepted, or that is presented to an unknown tenant.

    The message is the same in all cases, so that it does not disclose which subjects and tenants exist.
    """
    return AuthenticationError(
        "Invalid access token.",
        Hint.of(HintCode.CREATE_TOKEN),
    )
