"""Container formats by name; another distribution can add one (entry point group ``sealyard.containers``)."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import cast

from sealyard.containers.format import ContainerFormat
from sealyard.crypto.probe import is_probe
from sealyard.model.errors import InvalidKeyError, NotFoundError
from sealyard.model.safe_text import escape_text

ENTRY_POINT_GROUP = "sealyard.containers"


@cache
def all_formats() -> tuple[ContainerFormat, ...]:
    """All formats that are installed, by name."""
    found = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda each: each.name)
    return tuple(cast(ContainerFormat, each.load()()) for each in found)


def get_format(name: str) -> ContainerFormat:
    """Raises :class:`NotFoundError` for an unknown name."""
    for each in all_formats():
        if each.name == name:
            return each
    known = ", ".join(each.name for each in all_formats())
    raise NotFoundError(f"There is no container format {escape_text(name, 80)!r}.", f"Known are: {known}.")


def sniff_format(data: bytes) -> str | None:
    """The name of the format whose containers begin as ``data`` does: a signing task must refuse such a message."""
    return next((each.name for each in all_formats() if data.startswith(each.magic)), None)


def reject_lookalike(message: bytes) -> None:
    """Raises :class:`InvalidKeyError` for what begins like a container or like a readiness probe."""
    if kind := sniff_format(message):
        raise InvalidKeyError(
            f"The message begins like a {kind} container.", "Containers are made by packaging tasks only."
        )
    if is_probe(message):
        raise InvalidKeyError(
            "The message begins like a readiness probe.", "Those are made by crypto workers only, for themselves."
        )
