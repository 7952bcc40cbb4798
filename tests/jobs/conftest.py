"""The workspace of the worker's tests."""

from __future__ import annotations

from house_fixtures import founded, house

__all__ = ["founded", "house"]
