"""Tests of typed paths: quoting, URLs and completion."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sealyard_tui.widgets.path_parsing import PathProblem, complete_path, parse_paths, resolve_path
from sealyard_tui.widgets.path_patterns import MAX_DEPTH, PatternTooBroadError, expand_pattern, list_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.bin", "a b.bin", "it's.bin", "100% ü.bin", ".hidden", "odd\x1bname"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "apps" / "deep").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.bin", ["a.bin"]),
        ("a b.bin", ["a b.bin"]),
        ("'a b.bin' a.bin", ["a b.bin", "a.bin"]),
        ("a\\ b.bin", ["a b.bin"]),
        ("it's.bin", ["it's.bin"]),
        ('"it\'s.bin" a.bin', ["it's.bin", "a.bin"]),
        ("a.bin\r\n\r\n  a b.bin\n", ["a.bin", "a b.bin"]),
        ("./apps/../a.bin", ["a.bin"]),
        ("a.bin a.bin", ["a.bin"]),
    ],
)
def test_quoted_and_plain_paths_are_found(folder: Path, text: str, names: list[str]) -> None:
    parsed = parse_paths(text, folder)
    assert [each.name for each in parsed.paths] == names
    assert parsed.problems == ()


def test_file_urls_are_resolved(folder: Path) -> None:
    parsed = parse_paths((folder / "100% ü.bin").as_uri(), Path("/"))
    assert parsed.paths == (folder / "100% ü.bin",)


def test_missing_paths_are_listed(folder: Path) -> None:
    parsed = parse_paths("a.bin 'no such'\nneither\nunbalanced 'quote", folder)
    assert [each.name for each in parsed.paths] == ["a.bin"]
    assert parsed.problems == (
        ("no such", PathProblem.NOT_FOUND),
        ("neither", PathProblem.NOT_FOUND),
        ("unbalanced 'quote", PathProblem.UNBALANCED),
    )
    assert parsed.problem_text == "not found: no such, neither; unbalanced quotation mark: unbalanced 'quote"
    assert parsed.remaining == "'no such' neither unbalanced 'quote"


def test_missing_path_with_spaces_is_one_path(folder: Path) -> None:
    parsed = parse_paths("my missing file.bin", folder)
    assert parsed.problems == (("my missing file.bin", PathProblem.NOT_FOUND),)
    assert parsed.remaining == "my missing file.bin"


@pytest.mark.parametrize("text", ["\x00", "~nobody-here/x", "file://", "/" + "x" * 5000])
def test_invalid_text_is_missing(folder: Path, text: str) -> None:
    parsed = parse_paths(text, folder / "nowhere")
    assert (parsed.paths, parsed.problems) == ((), ((text, PathProblem.NOT_FOUND),))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("*.bin", ["100% ü.bin", "a b.bin", "a.bin", "it's.bin"]),
        ("a*.bin it?s.bin", ["a b.bin", "a.bin", "it's.bin"]),
        ("[ab].bin", ["a.bin"]),
        (".h*", [".hidden"]),
        ("**", ["100% ü.bin", "a b.bin", "a.bin", "it's.bin", "odd\x1bname", "deep.bin"]),
        ("**/d*.bin", ["deep.bin"]),
        ("apps/*/*.bin", ["deep.bin"]),
        ("my apps/*.bin", ["in space.bin"]),
    ],
)
def test_patterns_match_regular_files(folder: Path, text: str, names: list[str]) -> None:
    (folder / "apps" / "deep" / "deep.bin").write_bytes(b"x")
    (folder / "loop").symlink_to(folder)
    if text.startswith("my apps"):
        (folder / "my apps").mkdir()
        (folder / "my apps" / "in space.bin").write_bytes(b"x")
    parsed = parse_paths(text, folder)
    assert [path.name for path in parsed.paths] == names
    assert parsed.problems == ()


def test_pattern_without_match_is_a_problem(folder: Path) -> None:
    parsed = parse_paths("a.bin *.hex nowhere/*.bin", folder)
    assert [path.name for path in parsed.paths] == ["a.bin"]
    assert parsed.problem_text == "no file matches: *.hex, nowhere/*.bin"
    assert parsed.remaining == "'*.hex' 'nowhere/*.bin'"


def test_file_named_like_a_pattern_is_not_expanded(folder: Path) -> None:
    (folder / "*.bin").write_bytes(b"x")
    assert [path.name for path in parse_paths("*.bin", folder).paths] == ["*.bin"]


@pytest.mark.parametrize("limit", ["MAX_MATCHES", "MAX_SCANNED"])
def test_broad_pattern_is_rejected(folder: Path, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"sealyard_tui.widgets.path_patterns.{limit}", 2)
    assert parse_paths("**/*", folder).problems == (("**/*", PathProblem.TOO_BROAD),)


def test_any_depth_is_limited(tmp_path: Path) -> None:
    (tmp_path / "/".join("d" * (MAX_DEPTH + 2))).mkdir(parents=True)
    with pytest.raises(PatternTooBroadError):
        expand_pattern(tmp_path / "**" / "x")


def test_folder_lists_its_regular_files(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    contents = list_folder(folder)
    assert [path.name for path in contents.files] == ["100% ü.bin", "a b.bin", "a.bin", "it's.bin", "odd\x1bname"]
    assert (contents.size, contents.hidden, contents.special, contents.folders) == (5, 1, 1, 1)


def test_single_folder_is_returned_as_folder(folder: Path) -> None:
    assert parse_paths("apps", folder).folder == folder / "apps"
    assert parse_paths("apps a.bin", folder).folder is None


def test_tilde_resolves_to_home_folder(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert resolve_path("~/a.bin", Path("/")) == folder / "a.bin"


def test_completion_stops_at_common_prefix(folder: Path) -> None:
    one = complete_path("apps/d", folder)
    assert (one.text, one.candidates) == ("apps/deep/", ())
    ambiguous = complete_path("a", folder)
    assert ambiguous.text == "a"
    assert ambiguous.candidates == ("a b.bin", "a.bin", "apps/")
    assert complete_path("a", folder, folders_only=True).text == "apps/"


def test_hidden_names_complete_only_after_dot(folder: Path) -> None:
    assert ".hidden" not in complete_path("", folder).candidates
    assert complete_path(".h", folder).text == ".hidden"


def test_unprintable_name_is_counted_not_completed(folder: Path) -> None:
    completion = complete_path("odd", folder)
    assert (completion.text, completion.unprintable) == ("odd", 1)


def test_missing_folder_completes_nothing(folder: Path) -> None:
    assert complete_path("/no/such/x", folder).text == "/no/such/x"
