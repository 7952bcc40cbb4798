"""The filter of the dashboard as one line: ``status:waiting,running owner:me -device:gateway !beta release``.

All terms must match. A term is a word that is searched in name, id and file names, or one of :data:`FIELDS` with
values, one of which must match. ``-`` or ``!`` negates a term. Text with spaces or a colon is put in double quotes; a
double quote inside is doubled.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
from sealyard.model.requests import TaskFilter
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import ResultState, TaskKind, TaskStatus
from sealyard_tui.screens.dashboard.task_row import TaskRow

FIELDS = ("status", "state", "owner", "kind", "device")
ME = "me"
_ALIASES = {"queued": TaskStatus.SCHEDULED, "canceled": TaskStatus.CANCELLED}
_SHOWN = 16
"""Characters of the input that an error repeats: it is shown beside the line."""

_TOKEN = re.compile(r"""(?P<not>[-!])?(?:(?P<field>[^\s":]+):)?(?:"(?P<quoted>(?:[^"]|"")*)"?(?=\s|$)|(?P<bare>\S*))""")

Word = TypeVar("Word", bound=StrEnum)


class Term(FrozenStruct, frozen=True, kw_only=True):
    """One condition. ``field`` is empty for a word. ``exact``: the values are ids of device configurations."""

    field: str
    values: tuple[str, ...]
    negated: bool = False
    exact: bool = False

    def matches(self, row: TaskRow) -> bool:
        return any(self._holds(row, value) for value in self.values) is not self.negated

    def _holds(self, row: TaskRow, value: str) -> bool:
        match self.field:
            case "status":
                return row.status == value
            case "state":
                return row.state == value
            case "kind":
                return row.kind == value
            case "owner":
                return _is_owner(row.creator, value)
            case "device":
                return row.config_id == value if self.exact else value in row.device.casefold()
            case _:
                return value in f"{row.id}\n{row.name}\n{row.files}".casefold()


class TaskQuery(FrozenStruct, frozen=True, kw_only=True):
    """A parsed filter."""

    terms: tuple[Term, ...] = ()

    def matches(self, row: TaskRow) -> bool:
        return all(term.matches(row) for term in self.terms)

    def to_engine_filter(self) -> tuple[TaskFilter, bool]:
        """Return the filter for the engine, which may match more; and whether it matches exactly the same tasks."""
        filters = TaskFilter()
        rest = 0
        for term in self.terms:
            field = _ENGINE_FIELDS.get(term.field, "") if _engine_supports(term) else ""
            if field and not getattr(filters, field):
                filters = msgspec.structs.replace(filters, **{field: _VALUES.get(term.field, str)(term.values[0])})
            else:
                rest += 1
        return filters, not rest


_ENGINE_FIELDS = {
    "": "text",
    "status": "status",
    "state": "result_state",
    "kind": "kind",
    "owner": "created_by",
    "device": "config",
}
_VALUES = {"status": TaskStatus, "state": ResultState, "kind": TaskKind}


def _engine_supports(term: Term) -> bool:
    """Return whether the engine interprets the term in the same way."""
    if term.negated or len(term.values) != 1:
        return False
    return term.exact if term.field == "device" else term.field != "owner" or ":" in term.values[0]


def parse_filter(line: str, me: str, devices: Mapping[str, str] | None = None) -> TaskQuery:
    """Parse a filter. ``me`` is the identity of ``owner:me``; ``devices`` has ids by name, if known.

    Raises :class:`UsageError`, short enough to be shown beside the line.
    """
    return TaskQuery(terms=tuple(_term(token, me, devices or {}) for token in _tokens(line)))


def set_fields(line: str, values: Mapping[str, str]) -> str:
    """Return ``line`` with these fields set, or removed if the value is empty; everything else is kept."""
    kept = [each.text for each in _tokens(line) if each.negated or each.field not in values]
    return " ".join([*kept, *(f"{field}:{_quoted(value)}" for field, value in values.items() if value)])


def get_field(line: str, field: str) -> str:
    """Return the value of a field in ``line``; empty if it is not there."""
    return next((each.value for each in _tokens(line) if each.field == field and not each.negated), "")


class _Token(FrozenStruct, frozen=True, kw_only=True):
    """``text`` is the input, with the missing quotation mark added at the end."""

    text: str
    negated: bool
    field: str
    value: str


def _tokens(line: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(line):
        if not match[0]:
            continue
        quoted = match["quoted"]
        value = quoted.replace('""', '"') if quoted is not None else match["bare"]
        if match["field"] is None and not value:
            continue
        unclosed = quoted is not None and match[0].count('"') % 2
        yield _Token(
            text=match[0] + ('"' if unclosed else ""),
            negated=match["not"] is not None,
            field=(match["field"] or "").lower(),
            value=value,
        )


def _term(token: _Token, me: str, devices: Mapping[str, str]) -> Term:
    if not token.field:
        return Term(field="", values=(token.value.casefold(),), negated=token.negated)
    if token.field not in FIELDS:
        raise _unknown_field(token)
    values = tuple(each for each in token.value.split(",") if each)
    if not values:
        raise UsageError(f"{token.field}: expected {_EXAMPLES[token.field]}")
    match token.field:
        case "status":
            values = _words(values, TaskStatus)
        case "state":
            values = _words(values, ResultState)
        case "kind":
            values = _words(values, TaskKind)
        case "owner":
            values = tuple(me if each.lower() == ME else each for each in values)
        case _:
            ids = tuple(devices[each] for each in values if each in devices)
            if len(ids) == len(values):
                return Term(field="device", values=ids, negated=token.negated, exact=True)
            values = tuple(each.casefold() for each in values)
    return Term(field=token.field, values=values, negated=token.negated)


_EXAMPLES = {
    "status": "waiting, running, done …",
    "state": "available, expired or gone",
    "owner": "me or a name",
    "kind": "packaging, encryption or signing",
    "device": "a device configuration",
}


def _unknown_field(token: _Token) -> UsageError:
    known = {each.lower(): "status" for each in TaskStatus} | {each.lower(): "state" for each in ResultState}
    near = difflib.get_close_matches(token.field, FIELDS, 1, 0.7)
    hint = f'to search for the text, write "{escape_text(token.text, _SHOWN)}"'
    if token.field in known:
        hint = f"{known[token.field]}:{token.field}?"
    elif near:
        hint = f"{near[0]}:?"
    return UsageError(f"unknown field {escape_text(token.field, _SHOWN)}: {hint}")


def _words(values: Iterable[str], kind: type[Word]) -> tuple[str, ...]:
    return tuple(_word(each, kind) for each in values)


def _word(text: str, kind: type[Word]) -> str:
    """Return the word of the enumeration that starts with ``text``."""
    wanted = text.lower()
    alias = _ALIASES.get(wanted)
    if isinstance(alias, kind):
        return alias
    found = [each for each in kind if each.lower().startswith(wanted)]
    if not found:
        raise UsageError(f"unknown value {escape_text(text, _SHOWN)}; use {', '.join(each.lower() for each in kind)}")
    return found[0]


def _is_owner(creator: str, wanted: str) -> bool:
    """Return whether ``wanted`` is the whole subject, or a prefix of its name."""
    if ":" in wanted:
        return creator == wanted
    return creator.partition(":")[2].casefold().startswith(wanted.casefold())


def _quoted(value: str) -> str:
    plain = '"' not in value and not any(char.isspace() for char in value)
    return value if plain else '"' + value.replace('"', '""') + '"'
