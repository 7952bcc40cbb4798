"""Check metadata files before an approver sees them, and compare them with their previous versions."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from sealyard.metadata.compare import compare_fields
from sealyard.metadata.fields import MAX_BYTES, MetadataLimitError, MetadataSyntaxError, Node, RepeatedNameError
from sealyard.metadata.formats import MetadataFormat, metadata_format
from sealyard.metadata.parser import parse_metadata
from sealyard.model.formatting import format_size
from sealyard.model.metadata_changes import MAX_FIELD_CHANGES, MetadataChanges
from sealyard.model.safe_text import escape_text

NAME_LENGTH = 100


class _ParsedFile(NamedTuple):
    """A parsed file, or why it could not be parsed, as the end of a sentence."""

    root: Node = ""
    problem: str = ""


def metadata_warning(name: str, data: bytes) -> str:
    """Return a warning, as safe text, if a file does not have the syntax that its extension promises; else empty.

    ``data``: the complete content of the file.
    """
    file_format = metadata_format(name)
    if file_format is None:
        return ""
    problem = _parse(data, file_format).problem
    return f"{escape_text(name, NAME_LENGTH)} {problem}" if problem else ""


def compare_metadata(old_name: str, old_data: bytes, new_name: str, new_data: bytes) -> MetadataChanges:
    """Compare two versions of a file, each with its complete content."""
    file_format = metadata_format(new_name)
    if file_format is None or file_format is not metadata_format(old_name):
        problem = "Only JSON, TOML, YAML and INI files are compared field by field."
        return MetadataChanges(name=new_name, old_name=old_name, problem=problem)
    old, new = _parse(old_data, file_format), _parse(new_data, file_format)
    if new.problem or old.problem:
        problem = f"The new version {new.problem}" if new.problem else f"The old version {old.problem}"
        return MetadataChanges(name=new_name, old_name=old_name, format=file_format, problem=problem)
    all_changes = compare_fields(old.root, new.root)
    changes = tuple(islice(all_changes, MAX_FIELD_CHANGES))
    omitted = sum(1 for _ in all_changes)
    return MetadataChanges(name=new_name, old_name=old_name, format=file_format, fields=changes, omitted=omitted)


@lru_cache(maxsize=8)
def _parse(data: bytes, file_format: MetadataFormat) -> _ParsedFile:
    """Parse a file. Results are cached, because approvers look at the same reviews repeatedly."""
    if len(data) > MAX_BYTES:
        return _ParsedFile(problem=f"is larger than {format_size(MAX_BYTES)} and was not checked.")
    try:
        return _ParsedFile(root=parse_metadata(data, file_format))
    except MetadataSyntaxError as error:
        position = f": line {error.line}, column {error.column}" if error.line else ""
        return _ParsedFile(problem=f"is not valid {file_format}{position}.")
    except RepeatedNameError as error:
        return _ParsedFile(problem=f"contains the name {escape_text(error.name, NAME_LENGTH)} more than once.")
    except MetadataLimitError:
        return _ParsedFile(problem="is too complex and was not checked.")
