"""Grants for workers on other machines: they read inputs and write results without credentials of the store."""

from __future__ import annotations

from typing import Protocol

from sealyard.concurrency.threads import CheckCancelled
from sealyard.model.grants import InputGrant, ResultContent, ResultGrant
from sealyard.storage.result_id import ResultId


class ArtifactGrants(Protocol):
    """Issues grants, and checks what was written with them. All methods block.

    All raise :class:`ArtifactStoreError` if the store cannot be reached or refuses a request.
    """

    def grant_input(self, sha256: str, seconds: int) -> InputGrant:
        """Return a grant to read an input. Raises :class:`NotFoundError` if it is not stored."""
        ...

    def grant_result(self, result: ResultId, content: ResultContent, seconds: int) -> ResultGrant:
        """Return a grant to write a result with this content: in one request, or in the parts that ``content`` names.

        Can be repeated; parts that were uploaded are kept. Raises :class:`UsageError` for content that the store does
        not accept.
        """
        ...

    def confirm_result(self, result: ResultId, sha256: str, size: int, check_cancelled: CheckCancelled) -> None:
        """Complete the upload of a result, and check its content. The result is durable on return.

        Can be repeated. ``check_cancelled`` may raise an exception to cancel the call. Raises :class:`IntegrityError`
        if the store does not contain this content.
        """
        ...
