"""Test that the documented policy permits what Sealyard does, and nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from sealyard.model.errors import ArtifactStoreError
from sealyard.model.grants import ContentPart, ResultContent
from sealyard.storage import s3
from sealyard.storage.artifacts import ResultId
from sealyard.storage.s3.artifacts import S3Artifacts
from sealyard.storage.s3.location import S3Location
from tests.support.documented_policies import read_block
from tests.support.grants import put_object
from tests.support.object_store import MIN_PART_BYTES, TestBucket, use_credentials


def test_documented_policy_is_sufficient(tmp_path: Path, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    text = read_block(Path(s3.__file__).with_name("README.md"), "engine")
    policy = json.loads(text.replace("BUCKET", bucket.name).replace("PREFIX", "yard"))
    use_credentials(monkeypatch, bucket.server.create_user(f"user-{bucket.name}", policy))
    S3Artifacts.open(tmp_path / "artifacts", S3Location.parse(bucket.url), "w1").close(finish=True)
    store = bucket.open(tmp_path / "artifacts")
    content = bytes(2 * MIN_PART_BYTES + 1)
    stored = store.ingest_bytes(content)
    with store.open_input(stored.sha256) as file:
        assert hashlib.sha256(file.read()).hexdigest() == stored.sha256
    work_file = store.work_dir("t-1") / "container"
    work_file.write_bytes(b"container")
    store.publish_result(ResultId("t-1", 1), work_file, hashlib.sha256(b"container").hexdigest(), lambda _: None)
    parts = (ContentPart(sha256=stored.sha256, size=stored.size),)
    result_content = ResultContent(sha256=stored.sha256, size=stored.size, parts=parts)
    grant = store.grant_result(ResultId("t-1", 2), result_content, 600)
    assert put_object(grant.grants[0], content) == 200
    store.confirm_result(ResultId("t-1", 2), stored.sha256, stored.size, lambda _: None)
    store.remove_result("t-1")
    store.remove_orphaned_results(set())
    store.check()
    store.delete_input(stored.sha256)
    store.close(finish=True)
    assert bucket.keys() == []
    other_place = S3Location.parse(bucket.url.replace("/yard?", "/other?"))
    with pytest.raises(ArtifactStoreError, match="does not permit"):
        S3Artifacts.open(tmp_path / "other", other_place, "w1")
