"""Tests of the built-in and user themes: contrast, colour blindness, NO_COLOR and invalid files."""

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
BACKGROUNDS = ("background", "surface", "panel", "block-cursor-background", "block-cursor-blurred-background")
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
ColourMatrix = tuple[Triple, Triple, Triple]


def _linear(colour: Color) -> Triple:
    """Convert sRGB to linear light."""
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized)


def _contrast(one: Color, other: Color) -> float:
    """Return the contrast ratio of WCAG 2.2."""

    def luminance(colour: Color) -> float:
        red, green, blue = _linear(colour)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _to_oklab(colour: Color, eye: ColourMatrix) -> Triple:
    """Convert to Oklab (B. Ottosson, 2020), whose distances match perceived differences."""
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


def _theme_colours(theme: Theme) -> dict[str, Color]:
    generated = theme.to_color_system().generate()
    return {name: Color.parse(generated[name]) for name in (*TEXTS, *BACKGROUNDS)}


def _min_distance(theme: Theme, eye: ColourMatrix) -> float:
    colours = _theme_colours(theme)
    return min(
        math.dist(_to_oklab(colours[one], eye), _to_oklab(colours[other], eye))
        for one, other in combinations(STATES, 2)
    )


@pytest.mark.parametrize("theme", SEALYARD_THEMES, ids=lambda theme: theme.name)
def test_theme_contrast_meets_wcag_aa(theme: Theme) -> None:
    colours = _theme_colours(theme)
    poor = {
        (text, ground): round(ratio, 2)
        for text in TEXTS
        for ground in BACKGROUNDS
        if (ratio := _contrast(colours[text], colours[ground])) < 4.5
    }
    assert poor == {}


@pytest.mark.parametrize(("theme", "eye"), [(DEUTERANOPIA, DEUTERANOPE), (TRITANOPIA, TRITANOPE)])
def test_status_colours_differ_with_colour_blindness(theme: Theme, eye: ColourMatrix) -> None:
    assert _min_distance(theme, eye) > 0.12


def test_default_status_colours_look_similar_to_deuteranopes() -> None:
    assert _min_distance(DARK, DEUTERANOPE) < 0.05


def test_no_color_selects_terminal_palette() -> None:
    assert select_theme("nord", {"NO_COLOR": "1"}, NAMES) == ("ansi-dark", ())
    assert select_theme("nord", {"NO_COLOR": ""}, NAMES) == ("nord", ())


def test_unknown_theme_falls_back_with_report() -> None:
    name, (report,) = select_theme("nrod\x1b", {}, NAMES)
    assert name == "sealyard-dark"
    assert "nrod\\x1b" in report.message
    assert "nord" in report.hint


def test_builtin_themes_can_be_applied() -> None:
    async def each_in_turn() -> None:
        app: App[None] = App()
        async with app.run_test() as pilot:
            for theme in SEALYARD_THEMES:
                app.register_theme(theme)
                app.theme = theme.name
                await pilot.pause()
                assert app.theme_variables["success"].lower() == theme.success

    asyncio.run(each_in_turn())


COMPLETE_THEME = """
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


def test_complete_user_theme_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(COMPLETE_THEME)
    (theme,), reports = load_user_themes(tmp_path)
    assert reports == ()
    assert (theme.name, theme.dark, theme.primary, theme.accent) == ("mine", False, "#123456", "#AABBCC")
    assert theme.secondary == Color.parse("rebeccapurple").hex


def test_missing_theme_colours_are_derived(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text('name = "small"\nprimary = "#123456"')
    (theme,), reports = load_user_themes(tmp_path)
    assert (theme.name, theme.background, reports) == ("small", None, ())
    assert theme.to_color_system().generate()["background"]


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_invalid_theme_is_reported_and_others_load(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.toml").write_text('name = "good"\nprimary = "red"')
    (tmp_path / "b.toml").write_text(text)
    themes, (report,) = load_user_themes(tmp_path)
    assert [each.name for each in themes] == ["good"]
    assert str(tmp_path / "b.toml") in report.message
    assert message in f"{report.message} {report.hint}"


def test_directory_named_like_theme_is_reported(tmp_path: Path) -> None:
    (tmp_path / "b.toml").mkdir()
    themes, (report,) = load_user_themes(tmp_path)
    assert themes == ()
    assert "is not a file" in report.message


def test_missing_theme_folder_loads_nothing(tmp_path: Path) -> None:
    assert load_user_themes(tmp_path / "themes") == ((), ())


colour_values = (
    st.text(max_size=12) | st.from_regex(r"#[0-9a-fA-F]{3,8}", fullmatch=True) | st.sampled_from(["red", "auto"])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(["name", "primary", "panel", "background", "dark", "x"]), colour_values))
def test_any_theme_file_loads_or_is_reported(tmp_path: Path, table: dict[str, str]) -> None:
    lines = (f"{key} = '{value}'" for key, value in table.items())
    (tmp_path / "any.toml").write_text("\n".join(lines), errors="backslashreplace")
    themes, reports = load_user_themes(tmp_path)
    assert len(themes) + len(reports) == 1
    for each in themes:
        each.to_color_system().generate()
    for report in reports:
        assert report.message.isprintable()
