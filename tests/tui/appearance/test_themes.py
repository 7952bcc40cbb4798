"""Themes: legible, told apart by those who see fewer colours, colourless where asked; a broken one stops nothing."""

from __future__ import annotations

import asyncio
import math
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from textual.app import App
from textual.color import Color
from textual.theme import BUILTIN_THEMES, Theme

from sealyard_tui.appearance.themes import (
    DARK,
    DEUTERANOPIA,
    SEALYARD_THEMES,
    TRITANOPIA,
    load_user_themes,
    select_theme,
)

STATES = ("success", "warning", "error")
TEXTS = ("foreground", "text-muted", "accent", "primary", *STATES)
GROUNDS = ("background", "surface", "panel", "block-cursor-background", "block-cursor-blurred-background")
NAMES = {*BUILTIN_THEMES, *(each.name for each in SEALYARD_THEMES)}

# G. Machado, M. Oliveira, L. Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency",
# 2009: severity 1.0, on linear RGB.
DEUTERANOPE = (
    (0.367322, 0.860646, -0.227968),
    (0.280085, 0.672501, 0.047413),
    (-0.011820, 0.042940, 0.968881),
)
TRITANOPE = (
    (1.255528, -0.076749, -0.178779),
    (-0.078411, 0.930809, 0.147602),
    (0.004733, 0.691367, 0.303900),
)

Triple = tuple[float, ...]
Eye = tuple[Triple, Triple, Triple]


def _linear(colour: Color) -> Triple:
    """sRGB to linear light."""
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized)


def _contrast(one: Color, other: Color) -> float:
    """WCAG 2.2, contrast ratio."""

    def luminance(colour: Color) -> float:
        red, green, blue = _linear(colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _seen(colour: Color, eye: Eye) -> Triple:
    """In Oklab (B. Ottosson, 2020), where distances are about as large as they look."""
    light = _linear(colour)
    red, green, blue = (min(1.0, max(0.0, sum(a * b for a, b in zip(row, light, strict=True)))) for row in eye)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    middle = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def _colours(theme: Theme) -> dict[str, Color]:
    generated = theme.to_color_system().generate()
    return {name: Color.parse(generated[name]) for name in (*TEXTS, *GROUNDS)}


def _closest(theme: Theme, eye: Eye) -> float:
    colours = _colours(theme)
    return min(
        math.dist(_seen(colours[one], eye), _seen(colours[other], eye)) for one, other in combinations(STATES, 2)
    )


@pytest.mark.parametrize("theme", SEALYARD_THEMES, ids=lambda theme: theme.name)
def test_every_text_has_the_contrast_of_wcag_aa_on_every_ground(theme: Theme) -> None:
    colours = _colours(theme)
    poor = {
        (text, ground): round(ratio, 2)
        for text in TEXTS
        for ground in GROUNDS
        if (ratio := _contrast(colours[text], colours[ground])) < 4.5
    }
    assert poor == {}


@pytest.mark.parametrize(("theme", "eye"), [(DEUTERANOPIA, DEUTERANOPE), (TRITANOPIA, TRITANOPE)])
def test_who_sees_fewer_colours_tells_good_waiting_and_bad_apart(theme: Theme, eye: Eye) -> None:
    assert _closest(theme, eye) > 0.12


def test_the_measure_sees_that_the_usual_colours_are_alike_to_a_deuteranope() -> None:
    assert _closest(DARK, DEUTERANOPE) < 0.05


def test_no_color_is_the_terminals_palette_whatever_is_wanted() -> None:
    assert select_theme("nord", {"NO_COLOR": "1"}, NAMES) == ("ansi-dark", ())
    assert select_theme("nord", {"NO_COLOR": ""}, NAMES) == ("nord", ())


def test_a_theme_that_is_not_there_is_told_and_ours_is_taken() -> None:
    name, (report,) = select_theme("nrod\x1b", {}, NAMES)
    assert name == "sealyard-dark"
    assert "nrod\\x1b" in report.message
    assert "nord" in report.hint


def test_our_themes_can_be_put_on() -> None:
    async def each_in_turn() -> None:
        app: App[None] = App()
        async with app.run_test() as pilot:
            for theme in SEALYARD_THEMES:
                app.register_theme(theme)
                app.theme = theme.name
                await pilot.pause()
                assert app.theme_variables["success"].lower() == theme.success

    asyncio.run(each_in_turn())


WHOLE = """
name = "mine"
dark = false
primary = "#123456"
secondary = "rebeccapurple"
accent = "#abc"
foreground = "black"
background = "white"
surface = "#eeeeee"
panel = "#dddddd"
success = "green"
warning = "orange"
error = "red"
"""


def test_a_persons_theme_is_read(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(WHOLE)
    (theme,), reports = load_user_themes(tmp_path)
    assert reports == ()
    assert (theme.name, theme.dark, theme.primary, theme.accent) == ("mine", False, "#123456", "#AABBCC")
    assert theme.secondary == Color.parse("rebeccapurple").hex


def test_what_is_left_out_is_derived(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text('name = "small"\nprimary = "#123456"')
    (theme,), reports = load_user_themes(tmp_path)
    assert (theme.name, theme.background, reports) == ("small", None, ())
    assert theme.to_color_system().generate()["background"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("= [", "Invalid TOML in"),
        ('name = "x"', "missing key primary"),
        ('primary = "red"', "missing key name"),
        ('name = "x"\nprimary = "reddish"', "primary is 'reddish', not a colour"),
        ('name = "x"\nprimary = "auto"', "not a colour"),
        ('name = "x"\nprimary = "ansi_red"', "not a colour"),
        ('name = "x"\nprimary = "transparent"', "not a colour"),
        ('name = "x"\nprimary = "red"\nsucess = "green"', "Did you mean success?"),
        ('name = "x"\nprimary = "red"\ndark = "yes"', "invalid dark: expected true or false"),
        ('name = "X y"\nprimary = "red"', "is not a valid theme name"),
        ('name = "nord"\nprimary = "red"', "theme nord already exists"),
        ('name = "sealyard-dark"\nprimary = "red"', "already exists"),
        ('name = "good"\nprimary = "red"', "theme good already exists"),
    ],
)
def test_a_broken_theme_is_told_and_the_others_are_there(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.toml").write_text('name = "good"\nprimary = "red"')
    (tmp_path / "b.toml").write_text(text)
    themes, (report,) = load_user_themes(tmp_path)
    assert [each.name for each in themes] == ["good"]
    assert str(tmp_path / "b.toml") in report.message
    assert said in f"{report.message} {report.hint}"


def test_a_folder_with_the_name_of_a_theme_is_told(tmp_path: Path) -> None:
    (tmp_path / "b.toml").mkdir()
    themes, (report,) = load_user_themes(tmp_path)
    assert themes == ()
    assert "is not a file" in report.message


def test_without_the_folder_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert load_user_themes(tmp_path / "themes") == ((), ())


colours = st.text(max_size=12) | st.from_regex(r"#[0-9a-fA-F]{3,8}", fullmatch=True) | st.sampled_from(["red", "auto"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(["name", "primary", "panel", "background", "dark", "x"]), colours))
def test_any_theme_can_be_put_on_or_is_told(tmp_path: Path, table: dict[str, str]) -> None:
    lines = (f"{key} = '{value}'" for key, value in table.items())
    (tmp_path / "any.toml").write_text("\n".join(lines), errors="backslashreplace")
    themes, reports = load_user_themes(tmp_path)
    assert len(themes) + len(reports) == 1
    for each in themes:
        each.to_color_system().generate()
    for report in reports:
        assert report.message.isprintable()
