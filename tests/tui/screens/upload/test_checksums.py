"""Lists of digests, as the tools of the field print them."""

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
def test_each_kind_of_line_is_understood(line: str, name: str) -> None:
    assert parse_checksums(f"\n{line}\n") == (Checksum(name=name, sha256=ONE),)


@pytest.mark.parametrize("text", ["", "  \n", "fw.bin", ONE[:-1], f"{ONE}  fw.bin\nrubbish", f"{ONE}0"])
def test_anything_else_is_no_list(text: str) -> None:
    assert parse_checksums(text) is None


def test_the_longest_listed_name_decides() -> None:
    listed = parse_checksums(f"{ONE}  old/fw.bin\n{TWO}  new/fw.bin\n")
    assert listed is not None
    assert find_checksum("/build/new/fw.bin", listed) == TWO
    assert find_checksum("/build/old/fw.bin", listed) == ONE
    assert find_checksum("/build/other.bin", listed) == ""


def test_a_file_elsewhere_is_known_by_its_last_name() -> None:
    assert find_checksum("/tmp/fw.bin", (Checksum(name="out/fw.bin", sha256=ONE),)) == ONE


def test_a_digest_alone_is_of_no_named_file() -> None:
    assert find_checksum("/tmp/fw.bin", (Checksum(name="", sha256=ONE),)) == ""
