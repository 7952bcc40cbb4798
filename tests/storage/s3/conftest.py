"""Fixtures of the tests with an object store. They are skipped without the AWS SDK and its emulator."""

from __future__ import annotations

import importlib.util
import os

if importlib.util.find_spec("boto3") is not None or os.environ.get("SEALYARD_REQUIRE_INTEROP") == "1":
    from tests.support.object_store_fixtures import bucket, ministack

    __all__ = ["bucket", "ministack"]
else:
    # These tests import the AWS SDK, an optional dependency: pip install -e '.[s3]'
    collect_ignore_glob = ["test_*.py"]
