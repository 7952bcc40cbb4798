"""The JSON Schema of the worker settings."""

from __future__ import annotations

from typing import Any

import msgspec

from sealyard.keys.provider_options import OPTION_TYPES
from sealyard.keys.worker_settings import SECTION_NAME, SecretSource
from sealyard.model.base import FrozenStruct
from sealyard.model.provider_settings import ProcessSettings


def build_worker_settings_schema() -> dict[str, Any]:
    """Return the JSON Schema of the settings file."""
    provider = {"type": "string", "description": "Scheme of the key URIs, for example pkcs11."}
    secrets = {"type": "object", "additionalProperties": _struct_schema(SecretSource)}
    common = {"provider": provider, "secrets": secrets, **_struct_schema(ProcessSettings)["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Worker settings of Sealyard",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "keys": {
                "type": "object",
                "propertyNames": {"pattern": f"^{SECTION_NAME.pattern}$"},
                "additionalProperties": {
                    "type": "object",
                    "required": ["provider"],
                    "properties": common,
                    "allOf": [
                        {
                            "if": {"properties": {"provider": {"const": scheme}}},
                            "then": _options_schema(options_type, tuple(common)),
                        }
                        for scheme, options_type in OPTION_TYPES.items()
                    ],
                },
            }
        },
    }


def _struct_schema(struct: type[FrozenStruct]) -> dict[str, Any]:
    definitions: dict[str, dict[str, Any]] = msgspec.json.schema_components([struct])[1]
    return definitions[struct.__name__]


def _options_schema(options_type: type[FrozenStruct], common_keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema of a section with these options and the keys of all sections."""
    schema = _struct_schema(options_type)
    return {**schema, "properties": {**schema["properties"], **dict.fromkeys(common_keys, True)}}
