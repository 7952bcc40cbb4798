"""Tests of the diff between two packages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.package_diff import AttributeChange, ChangeKind, diff_packages
from sealyard.model.tasks import InputFile
from tests.tui.task_factories import device, file, task


def make_file(name: str, content: str, size: int = 10) -> InputFile:
    return InputFile(name=name, size=size, sha256=content.rjust(64, "0"))


def test_file_changes_have_kind_and_growth() -> None:
    diff = diff_packages(
        task("t-1", inputs=(make_file("boot", "a"), make_file("old", "b"), make_file("app", "c", 100))),
        task("t-2", inputs=(make_file("boot", "a"), make_file("app", "d", 130), make_file("new", "e", 7))),
    )
    kinds = [(each.name, each.kind, each.growth) for each in diff.firmware]
    assert kinds == [
        ("boot", ChangeKind.SAME, 0),
        ("app", ChangeKind.CHANGED, 30),
        ("new", ChangeKind.ADDED, 7),
        ("old", ChangeKind.REMOVED, -10),
    ]
    app = diff.firmware[1]
    assert app.before is not None
    assert app.after is not None
    assert (app.before.sha256[-1], app.after.sha256[-1]) == ("c", "d")
    assert not diff.is_empty


def test_identical_packages_have_empty_diff() -> None:
    diff = diff_packages(task("t-1", name="gateway"), task("t-2", name="gateway"))
    assert diff.is_empty


def test_swapped_files_are_reported_as_reordered() -> None:
    one, two = file("one"), file("two")
    diff = diff_packages(task("t-1", name="g", inputs=(one, two)), task("t-2", name="g", inputs=(two, one)))
    assert diff.reordered
    assert not diff.is_empty


def test_inserted_file_is_not_reordering() -> None:
    one, two, new = file("one"), file("two"), file("new")
    assert not diff_packages(task("t-1", inputs=(one, two)), task("t-2", inputs=(one, new, two))).reordered


def test_duplicate_file_names_are_distinguished() -> None:
    diff = diff_packages(
        task("t-1", inputs=(make_file("a", "1"),)), task("t-2", inputs=(make_file("a", "1"), make_file("a", "2")))
    )
    assert [each.kind for each in diff.firmware] == [ChangeKind.SAME, ChangeKind.ADDED]


def test_files_match_by_content_or_versioned_name() -> None:
    diff = diff_packages(
        task(
            "t-1",
            inputs=(make_file("boot-1.4.0.bin", "a"), make_file("app-1.4.0.bin", "b", 5), make_file("logo.png", "c")),
        ),
        task(
            "t-2",
            inputs=(
                make_file("boot-1.5.12.bin", "a"),
                make_file("app-1.5.12.bin", "d", 7),
                make_file("brand.png", "c"),
            ),
        ),
    )
    assert [(each.name, each.kind, each.growth) for each in diff.firmware] == [
        ("boot-1.4.0.bin → boot-1.5.12.bin", ChangeKind.RENAMED, 0),
        ("app-1.4.0.bin → app-1.5.12.bin", ChangeKind.CHANGED, 2),
        ("logo.png → brand.png", ChangeKind.RENAMED, 0),
    ]
    assert not diff.reordered
    assert not diff.is_empty


def test_only_metadata_file_with_extension_is_compared_with_its_predecessor() -> None:
    old_files = (make_file("old.json", "a"), make_file("a.toml", "b"), make_file("b.toml", "c"), make_file("x", "d"))
    new_files = (make_file("new.JSON", "e"), make_file("c.toml", "f"), make_file("y", "g"))
    diff = diff_packages(
        task("t-1", inputs=old_files, metadata=old_files), task("t-2", inputs=new_files, metadata=new_files)
    )
    assert [change.name for change in diff.metadata if change.kind is ChangeKind.CHANGED] == ["old.json → new.JSON"]
    assert not [change for change in diff.firmware if change.kind is ChangeKind.CHANGED]


def test_name_configuration_and_keys_are_compared() -> None:
    earlier = task("t-1", name="1.4", configuration=device(version=1), signing_key=None)
    diff = diff_packages(earlier, task("t-2", name="1.5", configuration=device(version=2), format="se-2"))
    terms = {each.term: each for each in diff.terms}
    assert set(terms) == {"name", "configuration", "format", "signing"}
    assert terms["name"] == AttributeChange(term="name", before="1.4", after="1.5")
    assert terms["configuration"].after == "gateway version 2"
    assert terms["signing"].before == ""
    assert terms["signing"].after == "ECC_NIST_P256 with local:gateway-signing version 1"


file_lists = st.lists(
    st.builds(make_file, st.sampled_from("abc"), st.sampled_from("123"), st.integers(0, 9)), max_size=6
)


@given(file_lists, file_lists)
def test_diff_lists_each_file_once(before: list[InputFile], after: list[InputFile]) -> None:
    diff = diff_packages(task("t-1", inputs=tuple(before)), task("t-2", inputs=tuple(after)))
    assert [each.after for each in diff.firmware if each.after is not None] == after
    listed_before = [each.before for each in diff.firmware if each.before is not None]
    assert sorted(listed_before, key=repr) == sorted(before, key=repr)
