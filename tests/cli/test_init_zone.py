"""Test the creation of a workspace whose tasks a crypto zone executes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.cli_runner import sealyard, value_of

if os.environ.get("SEALYARD_REQUIRE_INTEROP") != "1":
    pytest.importorskip("boto3")

from tests.support.bus_database import ZONE, BusDatabase
from tests.support.object_store import TestBucket
from tests.support.object_store_fixtures import bucket, ministack
from tests.support.postgres_fixtures import bus_database, postgres_server

__all__ = ["bucket", "bus_database", "ministack", "postgres_server"]

INIT = ("init", "--admin", "USER:admin", "--key-store", "passphrase")
BUS = ("--bus", "service=plant")
BUCKET = ("--artifacts", "s3://yard")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--zone", "plant", *BUCKET), "A crypto zone needs a name and a bus database."),
        ((*BUS, *BUCKET), "A crypto zone needs a name and a bus database."),
        (("--zone", "plant", *BUS), "The hosts of a crypto zone cannot read inputs in the folder of a workspace."),
        (("--zone", "Plant 1", *BUS, *BUCKET), "Invalid zone name"),
        (("--zone", "\x1b[2J", *BUS, *BUCKET), "Invalid zone name"),
        (("--zone", "plant", "--bus", "host=db password=geheim", *BUCKET), "password"),
    ],
)
def test_unusable_zone_creates_nothing(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    folder = tmp_path / "yard"
    ran = sealyard("--workspace", folder, *INIT, *options)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert "geheim" not in ran.err
    assert "\x1b" not in ran.err
    assert not folder.exists()


def test_task_waits_for_the_first_host(tmp_path: Path, bucket: TestBucket, bus_database: BusDatabase) -> None:
    folder = tmp_path / "yard"
    options = ("--zone", ZONE, "--bus", bus_database.engine, "--artifacts", bucket.url)
    created = value_of("--workspace", folder, *INIT, *options)
    assert created["zone"] == {"name": ZONE, "bus": bus_database.engine}
    ran = sealyard("--workspace", folder, "worker", "list")
    assert (ran.code, ran.out) == (0, f"zone {ZONE}: 0 hosts, 0 waiting tasks\nNo crypto hosts.\n")
