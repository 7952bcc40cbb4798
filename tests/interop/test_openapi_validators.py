"""Tests that independent validators accept the OpenAPI document."""

from __future__ import annotations

import subprocess

import msgspec
import pytest

from tests.support.node import require_node
from tests.support.programs import require_module
from tests.support.update_openapi import DOCUMENT

pytestmark = pytest.mark.interop


def test_openapi_spec_validator_accepts_document() -> None:
    require_module("openapi_spec_validator")
    from openapi_spec_validator import validate

    validate(msgspec.json.decode(DOCUMENT.read_bytes()))


def test_redocly_accepts_document() -> None:
    """Lint with the recommended rules, except for the license, because the project declares none."""
    node = require_node("@redocly/cli")
    command = [node.command, str(node.modules / "@redocly/cli/bin/cli.js"), "lint", "--extends=recommended"]
    command += ["--skip-rule=info-license", "--max-problems=20", str(DOCUMENT)]
    environment = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "PATH": "/usr/bin:/bin"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "warning" not in result.stdout + result.stderr
