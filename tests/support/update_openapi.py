"""Update the stored OpenAPI document: `python -m tests.support.update_openapi`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sealyard.server.api.openapi import build_document
from sealyard.server.app import api_routes

DOCUMENT = Path(__file__).parents[2] / "core" / "sealyard" / "server" / "openapi.json"


def encode_document() -> bytes:
    return msgspec.json.format(msgspec.json.encode(build_document(api_routes())), indent=1) + b"\n"


if __name__ == "__main__":
    DOCUMENT.write_bytes(encode_document())
