"""Registry of container formats. Other packages can add formats with the entry point group ``sealyard.containers``."""

from __future__ import annotations

from functools import cache
from typing import cast

from sealyard.containers.format import ContainerFormat
from sealyard.crypto.probe import is_probe
from sealyard.model.errors import InvalidKeyError, NotFoundError
from sealyard.model.safe_text import escape_text

ENTRY_POINT_GROUP = "sealyard.containers"


@cache
def all_formats() -> tuple[ContainerFormat, ...]:
    """Return an instance of every installed format, sorted by entry point name. The result is cached."""
    from importlib.metadata import entry_points

    format_entries = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name)
    return tuple(cast(ContainerFormat, entry.load()()) for entry in format_entries)


def get_format(name: str) -> ContainerFormat:
    """Return the format called ``name``. Raises :class:`NotFoundError` if there is no such format."""
    for container_format in all_formats():
        if container_format.name == name:
            return container_format
    known_names = ", ".join(container_format.name for container_format in all_formats())
    raise NotFoundError(f"Unknown container format {escape_text(name, 80)!r}.", f"Use one of: {known_names}.")


def sniff_format(data: bytes) -> str | None:
    """Return the name of the format whose magic bytes ``data`` starts with, or ``None``.

    Signing tasks use this function to reject messages that could pass as a container.
    """
    return next(
        (container_format.name for container_format in all_formats() if data.startswith(container_format.magic)), None
    )


def reject_container_start(message: bytes) -> None:
    """Raise :class:`InvalidKeyError` if ``message`` starts like a container or like a readiness probe."""
    if format_name := sniff_format(message):
        raise InvalidKeyError(
            f"The message starts like a {format_name} container.", "Use a packaging task to create a container."
        )
    if is_probe(message):
        raise InvalidKeyError(
            "The message starts like a readiness probe.",
            "Use a different message: probes are reserved for crypto workers.",
        )
