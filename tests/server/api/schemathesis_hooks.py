"""What Schemathesis must be told: the bytes of an upload are bytes, whatever tus calls them."""

from __future__ import annotations

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
