"""Tests of the parsers for metadata files."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealyard.metadata.fields import (
    MAX_BYTES,
    MetadataLimitError,
    MetadataSyntaxError,
    Node,
    RepeatedNameError,
)
from sealyard.metadata.formats import MetadataFormat, looks_like_metadata, metadata_format
from sealyard.metadata.parser import parse_metadata
from tests.support.extent import scale_examples

JSON, TOML, YAML, INI = MetadataFormat.JSON, MetadataFormat.TOML, MetadataFormat.YAML, MetadataFormat.INI


@pytest.mark.parametrize(
    ("file_format", "text", "expected"),
    [
        (
            JSON,
            '{"version": "1.2", "size": 1.10, "debug": false, "key": null, "parts": [{"id": 7}]}',
            {"version": '"1.2"', "size": "1.10", "debug": "false", "key": "null", "parts": [{"id": "7"}]},
        ),
        (JSON, "123456789012345678901234567890.0", "123456789012345678901234567890.0"),
        (
            TOML,
            'version = "1.2"\nsize = 1.10\nat = 2026-11-29\n[boot]\nslots = ["a", "b"]\nsecure = true\n',
            {
                "version": '"1.2"',
                "size": "1.10",
                "at": "2026-11-29",
                "boot": {"slots": ['"a"', '"b"'], "secure": "true"},
            },
        ),
        (
            YAML,
            "version: 1.10\nname: app\nquoted: '1'\nempty:\nbase: &b {x: 1}\ncopy: *b\nparts:\n  - id: 7\n",
            {
                "version": "1.10",
                "name": '"app"',
                "quoted": '"1"',
                "empty": "null",
                "base": {"x": "1"},
                "copy": {"x": "1"},
                "parts": [{"id": "7"}],
            },
        ),
        (YAML, "a: !!python/object:os.system {x: 1}\nb: !secret x", {"a": {"x": "1"}, "b": "!!secret x"}),
        (YAML, "--- 1\n--- two", ["1", '"two"']),
        (YAML, "", []),
        (
            INI,
            "; comment\nlevel = 1\n[boot]\nname: app = x\ntext = one\n  two\n[empty]\n",
            {"level": '"1"', "boot": {"name": '"app = x"', "text": '"one\\ntwo"'}, "empty": {}},
        ),
    ],
)
def test_file_is_parsed_without_loss(file_format: MetadataFormat, text: str, expected: Node) -> None:
    assert parse_metadata(text.encode(), file_format) == expected


@pytest.mark.parametrize(
    ("file_format", "data", "line", "column"),
    [
        (JSON, b"{bad", 1, 2),
        (JSON, b'{"a": 1,\n "b": }', 2, 7),
        (JSON, b'{"a": NaN}', 0, 0),
        (JSON, b"\xef\xbb\xbf{}", 1, 1),
        (JSON, b'{"a":\n"\xff"}', 2, 2),
        (TOML, b"a = 1\nb = \n", 2, 5),
        (YAML, b"a: [1, 2\nb: 3", 2, 2),
        (YAML, b"a: *missing", 1, 4),
        (YAML, b"a: &a [*a]", 1, 8),
        (YAML, b"a: \x01", 0, 0),
        (INI, b"[boot]\nname\n", 2, 1),
        (INI, b"[boot\n", 1, 6),
        (INI, b"= 1\n", 1, 1),
    ],
)
def test_invalid_file_is_rejected_with_position(
    file_format: MetadataFormat, data: bytes, line: int, column: int
) -> None:
    with pytest.raises(MetadataSyntaxError) as caught:
        parse_metadata(data, file_format)
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("file_format", "text"),
    [(JSON, '{"a": {"b": 1, "b": 2}}'), (YAML, "b: 1\nb: 2"), (INI, "[x]\nb=1\nb=2"), (INI, "[b]\n[b]\n")],
)
def test_repeated_name_is_rejected(file_format: MetadataFormat, text: str) -> None:
    with pytest.raises(RepeatedNameError) as caught:
        parse_metadata(text.encode(), file_format)
    assert caught.value.name == "b"


HALF = MAX_BYTES // 2
HOSTILE_FILES = {
    "large": (JSON, " " * (MAX_BYTES + 1)),
    "deep JSON": (JSON, "[" * HALF + "]" * HALF),
    "deep list in JSON": (JSON, "[" * 40 + "]" * 40),
    "many values": (JSON, "[" + "1," * (HALF - 2) + "1]"),
    "deep TOML": (TOML, "a = " + "[" * 2000 + "]" * 2000),
    "dotted key in TOML": (TOML, "a." * (HALF - 2) + "a=1"),
    "long integer in TOML": (TOML, "a = " + "1" * 5000),
    "deep flow in YAML": (YAML, "[" * HALF),
    "deep block in YAML": (YAML, "- " * HALF),
    "complex key in YAML": (YAML, "? [a, b]\n: 1"),
    "alias bomb": (YAML, "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9}]\n" for n in range(1, 9))),
    "alias depth": (YAML, "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 40))),
}


@pytest.mark.parametrize(("file_format", "text"), HOSTILE_FILES.values(), ids=HOSTILE_FILES)
def test_hostile_file_exceeds_limit(file_format: MetadataFormat, text: str) -> None:
    with pytest.raises(MetadataLimitError):
        parse_metadata(text.encode(), file_format)


SLOW_FILES = {
    "spaces in INI": (INI, "a" + " " * (MAX_BYTES - 2) + "b"),
    "values in INI": (INI, "a = 1\n" + " x\n" * (MAX_BYTES // 3 - 3)),
    "quotes in TOML": (TOML, 'a = """' + '" ' * (HALF - 20) + '"""'),
    "dotted keys in TOML": (TOML, "".join(f"{'a.' * 99}a{n:x}=1\n" for n in range(MAX_BYTES // 206))),
    "dotted tables in TOML": (TOML, "".join(f"[{'a.' * 99}a{n:x}]\n" for n in range(MAX_BYTES // 206))),
    "keys in YAML": (YAML, "a:\n" * (MAX_BYTES // 3)),
    "flow in YAML": (YAML, "{a: " * (MAX_BYTES // 4)),
    "question marks in YAML": (YAML, "? " * HALF),
    "quotes in YAML": (YAML, "'" * MAX_BYTES),
    "colons in YAML": (YAML, "1:" * HALF),
    "digits in YAML": (YAML, "1" * (MAX_BYTES - 1) + "x"),
    "backslashes in JSON": (JSON, '"' + "\\\\" * (HALF - 2) + '"'),
}


@pytest.mark.parametrize(("file_format", "text"), SLOW_FILES.values(), ids=SLOW_FILES)
def test_hostile_file_is_parsed_in_bounded_time(file_format: MetadataFormat, text: str) -> None:
    begin = time.process_time()
    with contextlib.suppress(MetadataSyntaxError, MetadataLimitError, RepeatedNameError):
        parse_metadata(text.encode(), file_format)
    assert time.process_time() - begin < 3


@settings(max_examples=scale_examples(200), deadline=None)
@given(
    st.sampled_from(MetadataFormat),
    st.one_of(st.binary(), st.text(alphabet="[]{}:,'\"\\-&*!#=.\n\t ab1").map(str.encode)),
)
def test_any_bytes_are_parsed_or_rejected(file_format: MetadataFormat, data: bytes) -> None:
    with contextlib.suppress(MetadataSyntaxError, MetadataLimitError, RepeatedNameError):
        parse_metadata(data, file_format)


@pytest.mark.parametrize(
    ("name", "file_format", "is_metadata"),
    [
        ("a.json", JSON, True),
        ("A.JSON", JSON, True),
        ("a.toml", TOML, True),
        ("a.yaml", YAML, True),
        ("a.yml", YAML, True),
        ("a.ini", INI, True),
        ("notes.txt", None, True),
        ("app.bin", None, False),
        ("json", None, False),
        (".json", None, False),
    ],
)
def test_format_follows_extension(name: str, file_format: MetadataFormat | None, is_metadata: bool) -> None:
    assert metadata_format(name) is file_format
    assert looks_like_metadata(name) is is_metadata
