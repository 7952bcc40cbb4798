"""The filter syntax of the dashboard, such as ``status:waiting,running owner:me -device:gateway !beta release``.

All terms must match. A term is either a word to search for in everything that the list shows of a task, or one of
:data:`FIELDS` with comma-separated values, at least one of which must match. ``status`` accepts the statuses of tasks
and the states of results; ``state`` is another name for it. A leading ``-`` or ``!`` negates a term.
Text with spaces or a colon must be enclosed in double quotes; a double quote inside it must be doubled.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
from sealyard.model.requests import TaskFilter
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import SubjectNames
from sealyard.model.task_search import NO_NAMES
from sealyard.model.tasks import DetailedStatus, ResultState, TaskKind
from sealyard_tui.fuzzy import MIN_WORD_LENGTH, is_similar, rank
from sealyard_tui.screens.dashboard.task_row import TaskRow

FIELDS = ("status", "state", "owner", "kind", "device")
ME = "me"
_ALIASES = {"queued": DetailedStatus.SCHEDULED, "canceled": DetailedStatus.CANCELLED}
_MAX_QUOTE_LENGTH = 16
"""Maximum number of input characters quoted in an error message, which must fit beside the filter."""

_TOKEN = re.compile(r"""(?P<not>[-!])?(?:(?P<field>[^\s":]+):)?(?:"(?P<quoted>(?:[^"]|"")*)"?(?=\s|$)|(?P<bare>\S*))""")

QUICK_FILTERS = (
    ("", "", "all"),
    ("status", "waiting", "waiting for approval"),
    ("status", "running", "running"),
    ("status", "queued", "in the queue"),
    ("status", "done", "done"),
    ("status", "failed", "failed"),
    ("status", "cancelled", "cancelled, rejected or withdrawn"),
    ("status", "available", "results that can be downloaded"),
    ("status", "expired", "results whose link expired"),
    ("status", "gone", "results whose file was removed"),
    ("status", "rejected", "rejected by an approver"),
    ("status", "withdrawn", "withdrawn by the requester"),
)
"""Field, value and label of each quick filter."""


class Term(FrozenStruct, frozen=True, kw_only=True):
    """A parsed term of a filter.

    ``field`` is empty if the term is a word to search for. ``is_exact``: whether the values are ids of device
    configurations instead of parts of their names. ``is_fuzzy``: whether similar words in the name of the task or of
    its device configuration match.
    """

    field: str
    values: tuple[str, ...]
    is_negated: bool = False
    is_exact: bool = False
    is_fuzzy: bool = False

    @property
    def can_be_fuzzy(self) -> bool:
        return not self.field and not self.is_negated and len(self.values[0]) >= MIN_WORD_LENGTH

    @property
    def is_word(self) -> bool:
        """Whether the term matches tasks that contain a word."""
        return not (self.field or self.is_negated or self.is_fuzzy)

    def matches(self, row: TaskRow, names: SubjectNames = NO_NAMES, shown_text: str = "") -> bool:
        """Return whether the row matches. ``shown_text``: the text of its cells, which may also contain words."""
        if self.is_word and self.values[0] in shown_text:
            return True
        return any(self._matches_value(row, value, names) for value in self.values) is not self.is_negated

    def _matches_value(self, row: TaskRow, value: str, names: SubjectNames) -> bool:
        match self.field:
            case "status":
                return value in (row.status, row.detailed_status, row.state)
            case "kind":
                return row.kind == value
            case "owner":
                return _is_owner(row.creator, value)
            case "device":
                return row.config_id == value if self.is_exact else value in row.device.casefold()
            case _:
                return is_similar(value, row.fuzzy_text) if self.is_fuzzy else value in row.search_text(names)


class TaskQuery(FrozenStruct, frozen=True, kw_only=True):
    """A parsed filter: terms that must all match. ``names``: display names of subjects, which words may match."""

    terms: tuple[Term, ...] = ()
    names: SubjectNames = NO_NAMES

    def matches(self, row: TaskRow, shown_text: str = "") -> bool:
        """Return whether the row matches all terms. ``shown_text``: see :meth:`Term.matches`."""
        return all(term.matches(row, self.names, shown_text) for term in self.terms)

    @property
    def has_words(self) -> bool:
        return any(term.is_word for term in self.terms)

    def without_words(self) -> TaskQuery:
        return msgspec.structs.replace(self, terms=tuple(term for term in self.terms if not term.is_word))

    @property
    def is_fuzzy(self) -> bool:
        return any(term.is_fuzzy for term in self.terms)

    def to_fuzzy(self) -> TaskQuery | None:
        """Return the query for tasks that are similar to its words; None if there is none."""
        if self.is_fuzzy or not any(term.can_be_fuzzy for term in self.terms):
            return None
        terms = (msgspec.structs.replace(term, is_fuzzy=term.can_be_fuzzy) for term in self.terms)
        return msgspec.structs.replace(self, terms=tuple(terms))

    def rank(self, row: TaskRow) -> float:
        """Return how well a row matches the words of a fuzzy query; a higher value is a better match."""
        return rank([term.values[0] for term in self.terms if term.is_fuzzy], row.fuzzy_text)

    def to_engine_filter(self) -> tuple[TaskFilter, bool]:
        """Return a filter for the engine, and whether it is exact. An inexact filter may match additional tasks."""
        task_filter = TaskFilter()
        unsupported_count = 0
        for term in self.terms:
            field = _engine_field(term) if _is_supported_by_engine(term) else ""
            if field and not getattr(task_filter, field):
                task_filter = msgspec.structs.replace(
                    task_filter, **{field: _FIELD_TYPES.get(field, str)(term.values[0])}
                )
            else:
                unsupported_count += 1
        return task_filter, not unsupported_count


_ENGINE_FIELDS = {
    "": "text",
    "status": "status",
    "kind": "kind",
    "owner": "created_by",
    "device": "config",
}
_FIELD_TYPES = {"status": DetailedStatus, "result_state": ResultState, "kind": TaskKind}


def _engine_field(term: Term) -> str:
    if term.field == "status" and term.values[0] in [*ResultState]:
        return "result_state"
    return _ENGINE_FIELDS.get(term.field, "")


def _is_supported_by_engine(term: Term) -> bool:
    """Return whether the engine can filter by this term and get the same result."""
    if term.is_negated or term.is_fuzzy or len(term.values) != 1:
        return False
    return term.is_exact if term.field == "device" else term.field != "owner" or ":" in term.values[0]


def parse_filter(
    text: str, identity: str, devices: Mapping[str, str] | None = None, names: SubjectNames = NO_NAMES
) -> TaskQuery:
    """Parse a filter.

    ``identity`` replaces ``me`` in ``owner:me``; ``devices`` maps names of device configurations to ids. ``names``:
    display names of subjects, which words may match.
    Raises :class:`UsageError` if the filter is invalid; the message is short enough to be shown beside the filter.
    """
    terms = tuple(_parse_term(token, identity, devices or {}) for token in _split_tokens(text))
    return TaskQuery(terms=terms, names=names)


def set_fields(text: str, values: Mapping[str, str]) -> str:
    """Return the filter ``text`` with each field in ``values`` set to its value, or removed if the value is empty.

    All other terms are kept, including negated terms with these fields.
    """
    terms = [each.text for each in _split_tokens(text) if each.is_negated or each.field not in values]
    return " ".join([*terms, *(f"{field}:{_quote(value)}" for field, value in values.items() if value)])


def get_field(text: str, field: str) -> str:
    """Return the value of a field in the filter ``text``, ignoring negated terms; empty if the field is missing."""
    return next((each.value for each in _split_tokens(text) if each.field == field and not each.is_negated), "")


def find_quick_filter(text: str) -> str:
    """Return the first of :data:`QUICK_FILTERS` that occurs in the filter ``text``, as ``field:value``.

    Returns ``:``, which stands for all tasks, if there is none.
    """
    matches = (f"{field}:{value}" for field, value, _ in QUICK_FILTERS if field and get_field(text, field) == value)
    return next(matches, ":")


MATCHES_NOTHING = TaskQuery(terms=(Term(field="status", values=()),))
"""The query used while the filter is invalid."""


class _Token(FrozenStruct, frozen=True, kw_only=True):
    """A token of a filter. ``text`` is the token as entered, with the closing double quote added if it is missing."""

    text: str
    is_negated: bool
    field: str
    value: str


def _split_tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        if not match[0]:
            continue
        quoted = match["quoted"]
        value = quoted.replace('""', '"') if quoted is not None else match["bare"]
        if match["field"] is None and not value:
            continue
        is_unclosed = quoted is not None and match[0].count('"') % 2
        yield _Token(
            text=match[0] + ('"' if is_unclosed else ""),
            is_negated=match["not"] is not None,
            field=(match["field"] or "").lower(),
            value=value,
        )


def _parse_term(token: _Token, identity: str, devices: Mapping[str, str]) -> Term:
    if not token.field:
        return Term(field="", values=(token.value.casefold(),), is_negated=token.is_negated)
    if token.field not in FIELDS:
        raise _create_unknown_field_error(token)
    values = tuple(each for each in token.value.split(",") if each)
    if not values:
        raise UsageError(f"{token.field}: expected {_EXAMPLES[token.field]}")
    match token.field:
        case "status" | "state":
            values = _parse_words(values, (*DetailedStatus, *ResultState))
            return Term(field="status", values=values, is_negated=token.is_negated)
        case "kind":
            values = _parse_words(values, tuple(TaskKind))
        case "owner":
            values = tuple(identity if each.lower() == ME else each for each in values)
        case _:
            ids = tuple(devices[each] for each in values if each in devices)
            if len(ids) == len(values):
                return Term(field="device", values=ids, is_negated=token.is_negated, is_exact=True)
            values = tuple(each.casefold() for each in values)
    return Term(field=token.field, values=values, is_negated=token.is_negated)


_EXAMPLES = {
    "status": "waiting, done, expired …",
    "state": "waiting, done, expired …",
    "owner": "me or a name",
    "kind": "packaging, encryption or signing",
    "device": "a device configuration",
}


def _create_unknown_field_error(token: _Token) -> UsageError:
    fields_by_value = {each.lower(): "status" for each in (*DetailedStatus, *ResultState)}
    matches = difflib.get_close_matches(token.field, FIELDS, 1, 0.7)
    hint = f'to search for the text, write "{escape_text(token.text, _MAX_QUOTE_LENGTH)}"'
    if token.field in fields_by_value:
        hint = f"{fields_by_value[token.field]}:{token.field}?"
    elif matches:
        hint = f"{matches[0]}:?"
    return UsageError(f"unknown field {escape_text(token.field, _MAX_QUOTE_LENGTH)}: {hint}")


def _parse_words(values: Iterable[str], words: Sequence[StrEnum]) -> tuple[str, ...]:
    return tuple(_parse_word(each, words) for each in values)


def _parse_word(text: str, words: Sequence[StrEnum]) -> str:
    """Return the word that has the alias ``text``, or else the first one that starts with ``text``.

    Raises :class:`UsageError` if there is none.
    """
    prefix = text.lower()
    alias = _ALIASES.get(prefix)
    if alias in words:
        return str(alias)
    matches = [each for each in words if each.lower().startswith(prefix)]
    if not matches:
        raise UsageError(
            f"unknown value {escape_text(text, _MAX_QUOTE_LENGTH)}; use {', '.join(each.lower() for each in words)}"
        )
    return matches[0]


def _is_owner(creator: str, value: str) -> bool:
    """Return whether ``value`` is the id of the creator, or a prefix of the name part of that id."""
    if ":" in value:
        return creator == value
    return creator.partition(":")[2].casefold().startswith(value.casefold())


def _quote(value: str) -> str:
    plain = '"' not in value and not any(char.isspace() for char in value)
    return value if plain else '"' + value.replace('"', '""') + '"'
