"""Formats are found by name, through entry points."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sealyard.containers.registry import all_formats, get_format, sniff_format
from sealyard.containers.se1.format import SE1Format
from sealyard.model.errors import NotFoundError


def test_se_1_is_found_by_name() -> None:
    assert isinstance(get_format("se-1"), SE1Format)
    assert "se-1" in [each.name for each in all_formats()]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="se-1"):
        get_format("se-9\x1b")


@pytest.mark.parametrize(
    ("data", "name"), [(b"Bosch_SE", "se-1"), (b"Bosch_SE\x01\x00", "se-1"), (b"Bosch_S", None), (b"", None)]
)
def test_a_message_that_begins_like_a_container_is_known(data: bytes, name: str | None) -> None:
    assert sniff_format(data) == name


def test_checking_a_package_loads_no_cryptography() -> None:
    code = (
        "import sys; from sealyard.containers.registry import get_format;"
        "get_format('se-1'); sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
