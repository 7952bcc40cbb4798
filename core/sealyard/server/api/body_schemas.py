"""OpenAPI schemas for request bodies that the handlers parse themselves."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, Operation, Reference, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType

TEXT_SCHEMA = Schema(type=OpenAPIType.STRING)
FILE_SCHEMA = Schema(
    type=OpenAPIType.STRING,
    content_media_type="application/octet-stream",
    # `format` is from OpenAPI 3.0: client generators that do not know contentMediaType need it to send a file.
    format=OpenAPIFormat.BINARY,
)
KEY_NAME_SCHEMA = Schema(
    type=OpenAPIType.STRING, description="name of an encryption key of the configuration; by default the first one"
)
RESUBMISSION_PROPERTIES: dict[str, Schema | Reference] = {
    "justification": Schema(type=OpenAPIType.STRING, description="why the task is needed, for its approvers"),
    "resubmissionOf": Schema(
        type=OpenAPIType.STRING, description="id of the rejected, cancelled or failed task that the new one replaces"
    ),
}
DIGEST_SCHEMA = Schema(type=OpenAPIType.STRING, pattern="^[0-9a-fA-F]{64}$")


def array_schema(item: Schema, description: str) -> Schema:
    return Schema(type=OpenAPIType.ARRAY, items=item, description=description)


def form_schema(required_fields: list[str], properties: dict[str, Schema | Reference]) -> OpenAPIMediaType:
    return OpenAPIMediaType(schema=Schema(type=OpenAPIType.OBJECT, required=required_fields, properties=properties))


PACKAGE_FORM = form_schema(
    ["deviceConfigId"],
    {
        "deviceConfigId": TEXT_SCHEMA,
        "inputFiles": array_schema(FILE_SCHEMA, "firmware, in packaging order"),
        "inputIds": array_schema(TEXT_SCHEMA, "ids of complete uploads, in their order among the inputFiles"),
        "metadataFile": FILE_SCHEMA,
        "metadataFiles": array_schema(FILE_SCHEMA, "metadata files, in order"),
        "metadataIds": array_schema(TEXT_SCHEMA, "ids of complete uploads"),
        "name": TEXT_SCHEMA,
        "contentType": TEXT_SCHEMA,
        **RESUBMISSION_PROPERTIES,
        "sha256checksum": array_schema(DIGEST_SCHEMA, "SHA-256 of each of the inputFiles, in the same order"),
    },
)
ENCRYPTION_FORM = form_schema(
    ["deviceConfigId"],
    {
        "deviceConfigId": TEXT_SCHEMA,
        "inputFile": FILE_SCHEMA,
        "inputId": Schema(type=OpenAPIType.STRING, description="id of a complete upload, instead of inputFile"),
        "encryptionKey": KEY_NAME_SCHEMA,
        "name": TEXT_SCHEMA,
        "contentType": TEXT_SCHEMA,
        **RESUBMISSION_PROPERTIES,
        "sha256checksum": DIGEST_SCHEMA,
    },
)


PACKAGE_JSON = form_schema(
    ["deviceConfigId", "inputIds"],
    {
        "deviceConfigId": TEXT_SCHEMA,
        "inputIds": array_schema(TEXT_SCHEMA, "ids of complete uploads, in packaging order"),
        "metadataIds": array_schema(TEXT_SCHEMA, "ids of complete uploads"),
        "name": TEXT_SCHEMA,
        "contentType": TEXT_SCHEMA,
        **RESUBMISSION_PROPERTIES,
    },
)
ENCRYPTION_JSON = form_schema(
    ["deviceConfigId", "inputId"],
    {
        "deviceConfigId": TEXT_SCHEMA,
        "inputId": TEXT_SCHEMA,
        "encryptionKey": KEY_NAME_SCHEMA,
        "name": TEXT_SCHEMA,
        "contentType": TEXT_SCHEMA,
        **RESUBMISSION_PROPERTIES,
    },
)


@dataclass
class PackageOperation(Operation):
    """OpenAPI operation that creates a packaging task from a form or from JSON."""

    def __post_init__(self) -> None:
        self.request_body = _form_or_json(PACKAGE_FORM, PACKAGE_JSON)


@dataclass
class EncryptionOperation(Operation):
    """OpenAPI operation that creates an encryption task from a form or from JSON."""

    def __post_init__(self) -> None:
        self.request_body = _form_or_json(ENCRYPTION_FORM, ENCRYPTION_JSON)


def _form_or_json(multipart: OpenAPIMediaType, json: OpenAPIMediaType) -> RequestBody:
    return RequestBody(required=True, content={"multipart/form-data": multipart, "application/json": json})
