"""The metadata formats whose fields can be compared, recognized by the extension of a file name."""

from __future__ import annotations

from enum import StrEnum


class MetadataFormat(StrEnum):
    """A format in which a metadata file is parsed; the value is its name in texts."""

    JSON = "JSON"
    TOML = "TOML"
    YAML = "YAML"
    INI = "INI"


_FORMATS = {
    ".json": MetadataFormat.JSON,
    ".toml": MetadataFormat.TOML,
    ".yaml": MetadataFormat.YAML,
    ".yml": MetadataFormat.YAML,
    ".ini": MetadataFormat.INI,
}
_OTHER_METADATA_EXTENSIONS = frozenset({".txt", ".md", ".xml", ".cfg", ".conf", ".csv", ".properties"})


def metadata_format(name: str) -> MetadataFormat | None:
    """Return the format that the extension of a file name stands for, or None for all other extensions."""
    return _FORMATS.get(_extension(name))


def looks_like_metadata(name: str) -> bool:
    """Return whether a file name has an extension that is usual for metadata, and unusual for firmware."""
    return _extension(name) in _FORMATS.keys() | _OTHER_METADATA_EXTENSIONS


def _extension(name: str) -> str:
    stem, dot, extension = name.rpartition(".")
    return f".{extension.casefold()}" if stem and dot else ""
