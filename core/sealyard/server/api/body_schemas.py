"""OpenAPI schemas of request bodies that the handlers parse themselves."""

from __future__ import annotations

from dataclasses import dataclass

from litestar.openapi.spec import OpenAPIMediaType, Operation, Reference, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIType

TEXT = Schema(type=OpenAPIType.STRING)
FILE = Schema(type=OpenAPIType.STRING, content_media_type="application/octet-stream")
DIGEST = Schema(type=OpenAPIType.STRING, pattern="^[0-9a-fA-F]{64}$")


def array_of(item: Schema, description: str) -> Schema:
    return Schema(type=OpenAPIType.ARRAY, items=item, description=description)


def form(required: list[str], properties: dict[str, Schema | Reference]) -> OpenAPIMediaType:
    return OpenAPIMediaType(schema=Schema(type=OpenAPIType.OBJECT, required=required, properties=properties))


PACKAGE_FORM = form(
    ["deviceConfigId"],
    {
        "deviceConfigId": TEXT,
        "inputFiles": array_of(FILE, "firmware, in packaging order"),
        "inputIds": array_of(TEXT, "ids of complete uploads, in their order among the inputFiles"),
        "metadataFile": FILE,
        "metadataFiles": array_of(FILE, "metadata files, in order"),
        "metadataIds": array_of(TEXT, "ids of complete uploads"),
        "name": TEXT,
        "contentType": TEXT,
        "sha256checksum": array_of(DIGEST, "SHA-256 of each of the inputFiles, in the same order"),
    },
)
ENCRYPTION_FORM = form(
    ["deviceConfigId"],
    {
        "deviceConfigId": TEXT,
        "inputFile": FILE,
        "inputId": Schema(type=OpenAPIType.STRING, description="id of a complete upload, instead of inputFile"),
        "name": TEXT,
        "contentType": TEXT,
        "sha256checksum": DIGEST,
    },
)


PACKAGE_JSON = form(
    ["deviceConfigId", "inputIds"],
    {
        "deviceConfigId": TEXT,
        "inputIds": array_of(TEXT, "ids of complete uploads, in packaging order"),
        "metadataIds": array_of(TEXT, "ids of complete uploads"),
        "name": TEXT,
        "contentType": TEXT,
    },
)
ENCRYPTION_JSON = form(
    ["deviceConfigId", "inputId"],
    {"deviceConfigId": TEXT, "inputId": TEXT, "name": TEXT, "contentType": TEXT},
)


@dataclass
class PackageOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = _one_of(PACKAGE_FORM, PACKAGE_JSON)


@dataclass
class EncryptionOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = _one_of(ENCRYPTION_FORM, ENCRYPTION_JSON)


def _one_of(multipart: OpenAPIMediaType, json: OpenAPIMediaType) -> RequestBody:
    return RequestBody(required=True, content={"multipart/form-data": multipart, "application/json": json})
