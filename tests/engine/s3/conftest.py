"""Fixtures: a workspace whose inputs and results are in a bucket behind a proxy."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.cuttable_proxy import CuttableProxy

if importlib.util.find_spec("boto3") is not None or os.environ.get("SEALYARD_REQUIRE_INTEROP") == "1":
    from tests.support.object_store import TestBucket
    from tests.support.object_store_fixtures import bucket, ministack
    from tests.support.s3_harness import S3Harness

    __all__ = ["bucket", "ministack"]

    @pytest.fixture
    async def proxy(bucket: TestBucket, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[CuttableProxy]:
        monkeypatch.setattr("sealyard.storage.s3.bucket.MAX_ATTEMPTS", 1)
        async with CuttableProxy(urlsplit(bucket.server.url).port or 0).listen() as proxy:
            yield proxy

    @pytest.fixture
    async def harness(tmp_path: Path, bucket: TestBucket, proxy: CuttableProxy) -> AsyncIterator[S3Harness]:
        harness = S3Harness(tmp_path / "yard", bucket, proxy.url)
        await harness.create()
        await harness.open()
        await harness.add_default_subjects()
        yield harness
        proxy.restore()
        if harness.is_open:
            await harness.close()

else:
    # These tests import the AWS SDK, an optional dependency: pip install -e '.[s3]'
    collect_ignore_glob = ["test_*.py"]
