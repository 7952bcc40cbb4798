"""Container formats by name; another distribution can add one (entry point group ``sealyard.containers``)."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import cast

from sealyard.containers.format import ContainerFormat
from sealyard.model.errors import NotFoundError
from sealyard.model.safe_text import safe_text

GROUP = "sealyard.containers"


@cache
def container_formats() -> tuple[ContainerFormat, ...]:
    """All formats that are installed, by name."""
    found = sorted(entry_points(group=GROUP), key=lambda each: each.name)
    return tuple(cast(ContainerFormat, each.load()()) for each in found)


def container_format(name: str) -> ContainerFormat:
    """Raises :class:`NotFoundError` for an unknown name."""
    for each in container_formats():
        if each.name == name:
            return each
    known = ", ".join(each.name for each in container_formats())
    raise NotFoundError(f"There is no container format {safe_text(name, 80)!r}.", f"Known are: {known}.")


def begins_like_container(data: bytes) -> str | None:
    """The name of the format whose containers begin as ``data`` does: a signing task must refuse such a message."""
    return next((each.name for each in container_formats() if data.startswith(each.magic)), None)
