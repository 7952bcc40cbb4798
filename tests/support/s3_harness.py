"""A workspace with fake workers whose inputs and results are in a bucket."""

from __future__ import annotations

import asyncio
from pathlib import Path

from sealyard.storage.artifacts import ArtifactStore
from sealyard.storage.s3.artifacts import S3Artifacts
from tests.support.engine_harness import EngineHarness
from tests.support.object_store import TestBucket


class S3Harness(EngineHarness):
    """``store``: the artifact store of the engine. ``artifacts`` is the folder of copies for workers."""

    store: S3Artifacts

    def __init__(self, root: Path, bucket: TestBucket, endpoint: str) -> None:
        super().__init__(root)
        self.bucket = bucket
        self._endpoint = endpoint

    async def open_artifacts(self) -> ArtifactStore:
        await super().open_artifacts()
        # In a thread, because the proxy runs on the event loop.
        self.store = await asyncio.to_thread(self.bucket.open, self.paths.artifacts, self._endpoint)
        return self.store
