"""Tests of the registry of container formats."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sealyard.containers.registry import all_formats, get_format, sniff_format
from sealyard.containers.se1.format import SE1Format
from sealyard.model.errors import NotFoundError


def test_get_format_returns_se1() -> None:
    assert isinstance(get_format("se-1"), SE1Format)
    assert "se-1" in [each.name for each in all_formats()]


def test_unknown_format_error_names_known_formats() -> None:
    with pytest.raises(NotFoundError, match="se-1"):
        get_format("se-9\x1b")


@pytest.mark.parametrize(
    ("data", "name"), [(b"Bosch_SE", "se-1"), (b"Bosch_SE\x01\x00", "se-1"), (b"Bosch_S", None), (b"", None)]
)
def test_sniff_format_recognizes_magic_bytes(data: bytes, name: str | None) -> None:
    assert sniff_format(data) == name


def test_get_format_loads_no_cryptography() -> None:
    code = (
        "import sys; from sealyard.containers.registry import get_format;"
        "get_format('se-1'); sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
