"""Request and response bodies of the access control endpoints, and their conversion to and from model types."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from sealyard.model.access import AclRule, Action, SubjectKind, SubjectState, parse_subject
from sealyard.model.base import FrozenStruct, LongText, ShortText


class SubjectReference(FrozenStruct, frozen=True, kw_only=True):
    """A subject in object form. ``type``: GROUP or CLIENT, as in the Sign & Encrypt API, or USER."""

    id: ShortText
    type: SubjectKind

    @property
    def subject(self) -> str:
        return parse_subject(f"{self.type}:{self.id}")


class SubjectResponse(FrozenStruct, frozen=True, kw_only=True):
    """A subject, both in object form (``id`` and ``type``) and as a ``KIND:name`` string (``subject``)."""

    id: str
    type: SubjectKind
    subject: str


class RuleBody(FrozenStruct, frozen=True, kw_only=True):
    """A new access rule.

    ``subject``: an object or a string of the form ``KIND:name``. ``confirmed``: whether to add the rule even if it
    leaves a device configuration with too few approvers.
    """

    subject: SubjectReference | ShortText
    resource: ShortText
    action: Action
    confirmed: bool = False


class SubjectBody(FrozenStruct, frozen=True, kw_only=True):
    subject: ShortText
    display_name: ShortText = ""


class SubjectStateBody(FrozenStruct, frozen=True, kw_only=True):
    """The new state of a subject.

    ``reason``: required to disable or remove a subject. ``confirmed``: remove the subject, and accept that approvals no
    longer count or that a device configuration has too few approvers.
    """

    state: SubjectState
    reason: LongText = ""
    confirmed: bool = False


class MemberBody(FrozenStruct, frozen=True, kw_only=True):
    group: ShortText
    member: ShortText
    confirmed: bool = False


class RuleResponse(FrozenStruct, frozen=True, kw_only=True):
    """An access rule. Its subject is an object, as in the Sign & Encrypt API."""

    id: str
    subject: SubjectResponse
    resource: str
    action: Action
    created_by: str
    created_at: datetime
    permanent: bool


def subject_response(subject: str) -> SubjectResponse:
    kind, _, name = subject.partition(":")
    return SubjectResponse(id=name, type=SubjectKind(kind), subject=subject)


def rule_response(rule: AclRule) -> RuleResponse:
    return RuleResponse(**{**msgspec.structs.asdict(rule), "subject": subject_response(rule.subject)})


def subject_of(reference: SubjectReference | str) -> str:
    """Return a subject named in a request as a ``KIND:name`` string. Raises :class:`UsageError` if it is invalid."""
    return parse_subject(reference) if isinstance(reference, str) else reference.subject


def subjects_of(references: Iterable[SubjectReference | str]) -> tuple[str, ...]:
    return tuple(subject_of(reference) for reference in references)
