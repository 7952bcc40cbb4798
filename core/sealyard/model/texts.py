"""How long the texts of a request may be: generous, and too short to fill a disk or to hold anybody up."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

ShortText = Annotated[str, Meta(max_length=1000)]
"""A name, an id, a subject."""

LongText = Annotated[str, Meta(max_length=10_000)]
"""What somebody wrote: a reason, a description."""
