"""Buckets of the emulator MiniStack, and artifact stores in them."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace
from typing import Any

import boto3
import pytest

from sealyard.model.provider_settings import Secrets
from sealyard.storage.s3.artifacts import S3Artifacts
from sealyard.storage.s3.bucket import Bucket
from sealyard.storage.s3.location import S3Location
from sealyard.storage.s3.uploads import StoreGuarantees
from tests.support.ministack import REGION, ROOT, MiniStack

WORKSPACE_ID = "w1"
MIN_PART_BYTES = 5 << 20
"""Smallest part that S3 accepts, except for the last one."""


class TestBucket:
    """A new bucket. ``url``: of the artifacts in it."""

    __test__ = False

    def __init__(self, server: MiniStack) -> None:
        self.server = server
        self.name = f"bucket-{token_hex(6)}"
        self.url = self.build_url(server.url)
        self.client = server.client("s3")
        self.client.create_bucket(Bucket=self.name, CreateBucketConfiguration={"LocationConstraint": REGION})

    def build_url(self, endpoint: str) -> str:
        """Return the URL of the artifacts for another endpoint, such as that of a proxy."""
        return f"s3://{self.name}/yard?region={REGION}&endpoint={endpoint}"

    def connect(self, endpoint: str = "") -> Bucket:
        return Bucket(S3Location.parse(self.build_url(endpoint or self.server.url)))

    def open(self, folder: Path, endpoint: str = "", **options: Any) -> S3Artifacts:
        """Open a store without a probe, with small parts."""
        guarantees = options.pop("guarantees", StoreGuarantees())
        sizes = {"single_bytes": MIN_PART_BYTES, "part_bytes": MIN_PART_BYTES, **options}
        store = S3Artifacts(folder, self.connect(endpoint), WORKSPACE_ID, guarantees, **sizes)
        store.load_index()
        return store

    def keys(self, workspace_id: str = WORKSPACE_ID) -> list[str]:
        """Return the keys of all objects, without prefix and workspace."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
        return sorted(key.removeprefix(f"yard/{workspace_id}/") for key in keys)

    def unfinished_uploads(self) -> list[str]:
        response = self.client.list_multipart_uploads(Bucket=self.name)
        return [item["Key"] for item in response.get("Uploads", ())]

    def replace(self, key: str, content: bytes) -> None:
        """Replace an object, as an administrator of the store can."""
        self.client.put_object(Bucket=self.name, Key=f"yard/{WORKSPACE_ID}/{key}", Body=content)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=f"yard/{WORKSPACE_ID}/{key}")


def use_credentials(monkeypatch: pytest.MonkeyPatch, secrets: Secrets = ROOT) -> None:
    """Let the AWS SDK use these credentials, and no others. Buckets share its sessions, which parse large files."""
    monkeypatch.setattr(
        "sealyard.storage.s3.bucket.boto3", SimpleNamespace(session=SimpleNamespace(Session=_share_session))
    )
    for name, value in build_environment(secrets).items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


class SharedSession:
    """A session of the AWS SDK from which several threads may create clients."""

    def __init__(self, region_name: str | None) -> None:
        self._session = boto3.session.Session(region_name=region_name)
        self._lock = threading.Lock()

    def client(self, *arguments: Any, **options: Any) -> Any:
        with self._lock:
            return self._session.client(*arguments, **options)


_create_session = functools.cache(lambda region_name, _: SharedSession(region_name))
"""Creates a session by region and environment."""


def _share_session(region_name: str | None) -> SharedSession:
    environment = tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    return _create_session(region_name, environment)


def build_environment(secrets: Secrets = ROOT) -> Mapping[str, str]:
    """Return the variables of a process that uses these credentials, and no others."""
    return {
        "AWS_ACCESS_KEY_ID": secrets.values["access_key_id"].decode(),
        "AWS_SECRET_ACCESS_KEY": secrets.values["secret_access_key"].decode(),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
