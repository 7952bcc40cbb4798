"""The changes in the metadata of a package since the last released package of the same configuration."""

from __future__ import annotations

from sealyard.model.base import FrozenStruct

MAX_FIELD_CHANGES = 200
"""Maximum number of changes that are listed for one file."""


class FieldChange(FrozenStruct, frozen=True, kw_only=True):
    """A changed field of a metadata file. All texts are untrusted.

    ``path``: for example ``components[2].version``; empty for the whole file. ``old`` is None if the field was added,
    ``new`` if it was removed. Strings have quotation marks, so that ``"1"`` differs from ``1``.
    """

    path: str
    old: str | None = None
    new: str | None = None


class MetadataChanges(FrozenStruct, frozen=True, kw_only=True):
    """The changed fields of one metadata file, which has the untrusted name ``name``, earlier ``old_name``.

    ``fields``: at most :data:`MAX_FIELD_CHANGES` changes; ``omitted`` counts the others. ``problem``: why the fields
    cannot be compared; empty if they could. Without changes and without a problem, only the notation has changed, for
    example the indentation.
    """

    name: str
    old_name: str
    format: str = ""
    fields: tuple[FieldChange, ...] = ()
    omitted: int = 0
    problem: str = ""
