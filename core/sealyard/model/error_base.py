"""The base class of the exceptions in :mod:`sealyard.model.errors`, and errors as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from sealyard.model.base import FrozenStruct
from sealyard.model.hints import Hint


class ErrorInfo(FrozenStruct, frozen=True, kw_only=True):
    """An error as plain data, to be sent to another process or over a network.

    ``hint`` is the neutral text; ``hint_code`` and ``hint_args`` are those of :class:`~sealyard.model.hints.Hint`.
    """

    code: str
    message: str
    hint: str = ""
    hint_code: str = ""
    hint_args: Mapping[str, str] = {}

    @property
    def structured_hint(self) -> Hint:
        return Hint(self.hint, self.hint_code, self.hint_args)


class SealyardError(Exception):
    """Base class of all errors that a user can understand and act on.

    ``message`` describes what happened, ``hint`` what to do next, in words that are right in every front end. Front
    ends show their own wording of ``structured_hint``. Neither ever contains a secret.
    """

    code: ClassVar[str] = "internal"
    is_audited: bool = True
    """Whether the audit log records a request that fails with this error. False for mistakes of the requester."""

    def __init__(self, message: str, hint: str | Hint = "") -> None:
        super().__init__(message)
        self.message = message
        self.structured_hint = hint if isinstance(hint, Hint) else Hint(hint)

    @property
    def hint(self) -> str:
        return self.structured_hint.text

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()

    def to_info(self) -> ErrorInfo:
        hint = self.structured_hint
        return ErrorInfo(
            code=self.code, message=self.message, hint=hint.text, hint_code=hint.code, hint_args=dict(hint.args)
        )
