"""The workspace of the worker's tests."""

from __future__ import annotations

from tests.support.worker_fixtures import founded, house

__all__ = ["founded", "house"]
