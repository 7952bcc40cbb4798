"""Test `sealyard s3`, and a workspace with real workers whose inputs and results are in a bucket."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli_runner import run_engine, sealyard, value_of

if os.environ.get("SEALYARD_REQUIRE_INTEROP") != "1":
    pytest.importorskip("boto3")

from tests.support.ministack import MiniStack
from tests.support.object_store import TestBucket
from tests.support.object_store_fixtures import bucket, ministack

__all__ = ["bucket", "ministack"]


ALGORITHMS = ("--encryption", "AES256_CBC_PKCS7_PAD", "--signing", "SHA256_ECDSA")


class S3Workspace:
    """Runs commands in a new workspace. ``bucket`` has its inputs and results."""

    def __init__(self, folder: Path, bucket: TestBucket) -> None:
        self.folder = folder
        self.bucket = bucket
        arguments = ("--workspace", folder, "init", "--admin", "USER:admin", "--key-store", "passphrase")
        metadata = value_of(*arguments, "--artifacts", bucket.url)
        assert metadata["artifacts"] == bucket.url
        self.prefix = f"yard/{metadata['id']}/"
        for name in ("admin", "developer", "owner"):
            value_of("profile", "add", name, "--workspace", folder, "--identity", f"USER:{name}")
        people = ("--use", "USER:developer", "--approve", "USER:owner")
        with run_engine(folder, work=False):
            for name in ("developer", "owner"):
                self.value("admin", "subject", "add", f"USER:{name}")
            self.value("admin", "device", "create", "gateway", *ALGORITHMS, *people)

    def value(self, user: str, *arguments: object) -> Any:
        return value_of("--profile", user, *arguments)

    def objects(self) -> list[str]:
        keys = self.bucket.keys()
        return [key.removeprefix(self.prefix) for key in keys]


@pytest.fixture
def yard(tmp_path: Path, home: Path, bucket: TestBucket) -> S3Workspace:
    return S3Workspace(tmp_path / "yard", bucket)


def test_check_reports_guarantees(bucket: TestBucket, ministack: MiniStack) -> None:
    checks = value_of("s3", "check", bucket.url)["checks"]
    assert [check["name"] for check in checks if not check["passed"]] == []
    result = sealyard("s3", "check", bucket.url.replace(bucket.name, "no-such-bucket"))
    assert result.code == 1
    assert "The bucket of s3://no-such-bucket/yard does not exist." in result.err
    assert sealyard("s3", "check", "s3://key:geheim@yard").code == 2


def test_workspace_cannot_be_created_without_bucket(tmp_path: Path, home: Path, bucket: TestBucket) -> None:
    url = bucket.url.replace(bucket.name, "no-such-bucket")
    result = sealyard("--workspace", tmp_path / "yard", "init", "--key-store", "passphrase", "--artifacts", url)
    assert result.code == 1
    assert "does not exist" in result.err
    assert not (tmp_path / "yard").exists()


def test_package_is_built_from_bucket(yard: S3Workspace, tmp_path: Path) -> None:
    firmware = tmp_path / "firmware.bin"
    firmware.write_bytes(b"firmware" * 10_000)
    task = yard.value("developer", "package", "--device", "gateway", "--firmware", firmware)
    assert [key.partition("/")[0] for key in yard.objects()] == ["inputs"]
    approved = yard.value("owner", "approve", task["id"])
    assert approved["status"] == "DONE"
    assert yard.objects() == [f"results/{task['id']}/1"]
    yard.value("developer", "download", task["id"], "--out", tmp_path / "down")
    container = next((tmp_path / "down").iterdir())
    assert container.stat().st_size == approved["result"]["size"]


def test_replaced_input_is_not_signed(yard: S3Workspace, tmp_path: Path) -> None:
    firmware = tmp_path / "firmware.bin"
    firmware.write_bytes(b"firmware" * 10_000)
    task = yard.value("developer", "package", "--device", "gateway", "--firmware", firmware)
    (key,) = yard.bucket.keys()
    client = yard.bucket.client
    client.put_object(Bucket=yard.bucket.name, Key=key, Body=b"malware!" * 10_000)
    sealyard("--profile", "owner", "approve", task["id"])
    shown = yard.value("developer", "show", task["id"])
    assert shown["status"] == "FAILED"
    assert "is not the file that was uploaded and approved" in str(shown["reason"])
    assert not any(name.startswith("results/") for name in yard.objects())


def test_replaced_result_is_not_downloaded(yard: S3Workspace, tmp_path: Path) -> None:
    firmware = tmp_path / "firmware.bin"
    firmware.write_bytes(b"firmware" * 10_000)
    task = yard.value("developer", "package", "--device", "gateway", "--firmware", firmware)
    yard.value("owner", "approve", task["id"])
    (key,) = yard.bucket.keys()
    client = yard.bucket.client
    content = client.get_object(Bucket=yard.bucket.name, Key=key)["Body"].read()
    client.put_object(Bucket=yard.bucket.name, Key=key, Body=content.swapcase())
    result = sealyard("--profile", "developer", "download", task["id"], "--out", tmp_path / "down")
    assert result.code != 0
    assert not list((tmp_path / "down").glob("*.se-1"))
