"""Themes from Sealyard, from Textual, and from the user.

States are colored with these variables only, and are always marked with an icon or a word as well:

========================  ===============================================================================
``$success``              successful: DONE, AVAILABLE, downloaded and verified
``$warning``              needs attention: WAITING, EXPIRED, a newer version, a weak algorithm
``$error``                failed or dangerous: FAILED, GONE, rejected, self-approval
``$accent``               active or actionable: APPROVED, SCHEDULED, RUNNING, keys in hints
``$text-muted``           finished or secondary: CREATED, CANCELLED, ages, units
========================  ===============================================================================

In all Sealyard themes, these colors and the foreground have a contrast ratio of at least 4.5:1 (WCAG 2.2, level AA)
on ``$background``, ``$surface``, ``$panel`` and the background of the cursor.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.theme import BUILTIN_THEMES, Theme

from sealyard.client.config.settings_loader import NO_COLOR_THEME, convert, no_color, read_toml
from sealyard.model.base import FrozenStruct
from sealyard.model.errors import ErrorInfo, UsageError
from sealyard.model.safe_text import escape_text

DEFAULT_THEME = "sealyard-dark"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class ThemeFile(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """The contents of a theme file. Colors are written as ``#1e2a38`` or as CSS names; Textual derives omitted ones."""

    name: str
    primary: str
    dark: bool = True
    secondary: str | None = None
    accent: str | None = None
    foreground: str | None = None
    background: str | None = None
    surface: str | None = None
    panel: str | None = None
    success: str | None = None
    warning: str | None = None
    error: str | None = None


def _theme(name: str, *, dark: bool, cursor: str, unfocused_cursor: str, muted: str, **colours: Any) -> Theme:
    """Return a theme with these colors.

    ``cursor``: background of the current row in the focused pane. ``unfocused_cursor``: its background in other panes.
    ``muted``: color of secondary text.
    """
    primary, foreground, panel = colours["primary"], colours["foreground"], colours["panel"]
    variables = {
        "text-muted": muted,
        "foreground-muted": muted,
        # Textual would mix these with white or black, so that color-blind users could no longer distinguish them.
        **{f"text-{name}": colours[name] for name in ("primary", "secondary", "accent", "success", "warning", "error")},
        "block-cursor-background": cursor,
        "block-cursor-foreground": foreground,
        "block-cursor-text-style": "bold",
        "block-cursor-blurred-background": unfocused_cursor,
        "block-cursor-blurred-foreground": foreground,
        "block-hover-background": unfocused_cursor,
        "border": primary,
        "border-blurred": unfocused_cursor,
        "footer-background": panel,
        "footer-foreground": foreground,
        "footer-description-foreground": muted,
        "footer-key-foreground": primary,
        "input-selection-background": cursor,
        "scrollbar": unfocused_cursor,
        "scrollbar-hover": muted,
        "scrollbar-active": primary,
        "scrollbar-background": colours["background"],
        "scrollbar-background-hover": colours["background"],
        "scrollbar-background-active": colours["background"],
        "scrollbar-corner-color": colours["background"],
        "link-color": primary,
        "button-focus-text-style": "bold reverse",
    }
    return Theme(name=name, dark=dark, variables=variables, **colours)


_DARK_BASE = {
    "background": "#11151b",
    "surface": "#171c24",
    "panel": "#1f2630",
    "cursor": "#203a52",
    "unfocused_cursor": "#242c38",
    "foreground": "#dce3ec",
    "muted": "#9aa7b8",
    "secondary": "#8fa3ba",
}
"""Colors shared by the default theme and the one for deuteranopia."""

DARK = _theme(
    DEFAULT_THEME,
    dark=True,
    **_DARK_BASE,
    primary="#6cbbdc",
    accent="#6cbbdc",
    success="#7ecb93",
    warning="#e6bd68",
    error="#f48a86",
)

LIGHT = _theme(
    "sealyard-light",
    dark=False,
    background="#f5f7f9",
    surface="#ffffff",
    panel="#e8edf2",
    cursor="#cfe3f0",
    unfocused_cursor="#dde4eb",
    foreground="#1c2530",
    muted="#4b5867",
    primary="#0a5c86",
    accent="#0a5c86",
    secondary="#46586c",
    success="#17622f",
    warning="#754a00",
    error="#a3221c",
)

# Sky blue and yellow are those of M. Okabe and K. Ito, "Color Universal Design", 2002 (https://jfly.uni-koeln.de/color/);
# their vermillion is lighter here, for contrast on a dark background.
DEUTERANOPIA = _theme(
    "sealyard-deuteranopia",
    dark=True,
    **_DARK_BASE,
    primary="#56b4e9",
    accent="#d5dce6",
    success="#56b4e9",
    warning="#f0e442",
    error="#f28e46",
)

# Red, magenta and cyan for error, warning and success, and no yellow, as in the Modus themes for tritanopia by
# P. Stavrou (https://protesilaos.com/emacs/modus-themes).
TRITANOPIA = _theme(
    "sealyard-tritanopia",
    dark=True,
    background="#131417",
    surface="#1a1b1f",
    panel="#24262b",
    cursor="#33383f",
    unfocused_cursor="#2a2d32",
    foreground="#e4e4e7",
    muted="#a6a8ae",
    primary="#4fd0d8",
    accent="#d8dae0",
    secondary="#9fa3aa",
    success="#4fd0d8",
    warning="#e7b3ea",
    error="#ff7f7c",
)

SEALYARD_THEMES = (DARK, LIGHT, DEUTERANOPIA, TRITANOPIA)
"""The themes of Sealyard, which are registered in addition to Textual's own."""


def select_theme(
    requested: str, environ: Mapping[str, str], names: Collection[str]
) -> tuple[str, tuple[ErrorInfo, ...]]:
    """Return the theme to use, and an error if the ``requested`` theme does not exist.

    If ``NO_COLOR`` is set, the theme without colors is always used. ``names``: the available themes.
    """
    if no_color(environ):
        return NO_COLOR_THEME, ()
    if requested in names:
        return requested, ()
    available = ", ".join(sorted(names))
    return DEFAULT_THEME, (
        ErrorInfo(
            code=UsageError.code,
            message=f"Unknown theme {escape_text(requested, 40)}; using {DEFAULT_THEME}.",
            hint=f"Available: {available}.",
        ),
    )


def load_user_themes(folder: Path) -> tuple[tuple[Theme, ...], tuple[ErrorInfo, ...]]:
    """Load the themes from the ``*.toml`` files in ``folder``. Return them, and an error for each ignored file."""
    themes: dict[str, Theme] = {}
    errors: list[ErrorInfo] = []
    try:
        paths = sorted(folder.glob("*.toml"))
    except OSError as error:
        return (), (UsageError(f"{escape_text(str(folder))} cannot be read: {error.strerror}.").to_info(),)
    existing_names = {*BUILTIN_THEMES, *(theme.name for theme in SEALYARD_THEMES)}
    for path in paths:
        try:
            theme = _read_theme(path, existing_names | set(themes))
        except UsageError as error:
            errors.append(error.to_info())
        else:
            themes[theme.name] = theme
    return tuple(themes.values()), tuple(errors)


def _read_theme(path: Path, existing_names: Collection[str]) -> Theme:
    source = escape_text(str(path))
    if not path.is_file():
        raise UsageError(f"{source} is not a file.", "Remove it.")
    file = convert(read_toml(path), ThemeFile, str(path))
    if not _NAME.fullmatch(file.name):
        raise UsageError(
            f"{source}: {escape_text(file.name, 40)!r} is not a valid theme name.",
            "Use lowercase letters, digits and '-'.",
        )
    if file.name in existing_names:
        raise UsageError(f"{source}: theme {file.name} already exists.", "Choose another name.")
    colours: dict[str, Any] = {
        name: _colour(source, name, value)
        for name in ThemeFile.__struct_fields__
        if isinstance(value := getattr(file, name), str) and name != "name"
    }
    return Theme(name=file.name, dark=file.dark, **colours)


def _colour(source: str, name: str, text: str) -> str:
    try:
        colour = Color.parse(text)
    except ColorParseError:
        colour = None
    if colour is None or colour.a != 1 or colour.ansi is not None or text == "auto":
        raise UsageError(f"{source}: {name} is {escape_text(text, 40)!r}, not a colour.", "Use the form #1e2a38.")
    return colour.hex
