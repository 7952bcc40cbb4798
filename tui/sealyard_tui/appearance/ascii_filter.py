"""Replacement of signs, lines and blocks in everything that the application draws."""

from __future__ import annotations

from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

from sealyard.model.ascii_signs import replace_signs


class AsciiFilter(LineFilter):
    """Filter that replaces signs with :func:`sealyard.model.ascii_signs.replace_signs`."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - as in the base class
        return [
            segment if segment.text.isascii() else segment._replace(text=replace_signs(segment.text))
            for segment in segments
        ]
