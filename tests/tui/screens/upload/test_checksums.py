"""Tests of the parser of checksum lists."""

from __future__ import annotations

import pytest

from sealyard_tui.screens.upload.checksums import Checksum, find_checksum, parse_checksums

ONE, TWO = "a1" * 32, "b2" * 32


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (f"{ONE}  fw.bin", "fw.bin"),
        (f"{ONE} *fw.bin", "fw.bin"),
        (f"{ONE.upper()}  ./out/fw one.bin", "out/fw one.bin"),
        (f"SHA256 (fw.bin) = {ONE}", "fw.bin"),
        (f"SHA2-256(fw.bin)= {ONE}", "fw.bin"),
        (f"\\{ONE}  a\\nb\\\\c", "a\nb\\c"),
        (ONE, ""),
        (f"sha256:{ONE}", ""),
        (f"SHA256:{ONE.upper()}  fw.bin", "fw.bin"),
    ],
)
def test_supported_line_formats_are_parsed(line: str, name: str) -> None:
    assert parse_checksums(f"\n{line}\n") == (Checksum(name=name, sha256=ONE),)


@pytest.mark.parametrize("text", ["", "  \n", "fw.bin", ONE[:-1], f"{ONE}  fw.bin\nrubbish", f"{ONE}0"])
def test_invalid_text_returns_none(text: str) -> None:
    assert parse_checksums(text) is None


def test_longest_matching_name_is_used() -> None:
    checksums = parse_checksums(f"{ONE}  old/fw.bin\n{TWO}  new/fw.bin\n")
    assert checksums is not None
    assert find_checksum("/build/new/fw.bin", checksums) == TWO
    assert find_checksum("/build/old/fw.bin", checksums) == ONE
    assert find_checksum("/build/other.bin", checksums) == ""


def test_file_in_other_folder_matches_base_name() -> None:
    assert find_checksum("/tmp/fw.bin", (Checksum(name="out/fw.bin", sha256=ONE),)) == ONE


def test_bare_digest_matches_no_file() -> None:
    assert find_checksum("/tmp/fw.bin", (Checksum(name="", sha256=ONE),)) == ""
