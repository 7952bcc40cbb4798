"""Errors that all artifact stores raise."""

from __future__ import annotations

from sealyard.model.errors import NotFoundError, ResultGoneError


def input_missing_error(sha256: str) -> NotFoundError:
    return NotFoundError(f"Input {sha256} not found.", "Upload the file again.")


def result_gone_error() -> ResultGoneError:
    return ResultGoneError("The result is no longer stored.", "Submit the request again.")
