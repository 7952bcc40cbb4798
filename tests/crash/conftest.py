"""Configuration of the crash tests. Those of crypto zones are skipped without the packages for S3."""

from __future__ import annotations

import importlib.util
import os

if os.environ.get("SEALYARD_REQUIRE_INTEROP") != "1" and importlib.util.find_spec("boto3") is None:
    collect_ignore_glob = ["test_zone_*.py"]
