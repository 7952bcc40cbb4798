"""Replacement of signs, lines and blocks by ASCII characters, for terminals that cannot display others."""

from __future__ import annotations

from collections.abc import Mapping

_COERCED_CTYPES = ("C.UTF-8", "C.utf8", "UTF-8")
"""Values of LC_CTYPE that Python sets itself if the locale is C (PEP 538)."""

_SIGNS = {
    "✓": "+",
    "✗×": "x",
    "▶▸→›↪": ">",
    "◀◂←‹": "<",
    "↓▼": "v",
    "↑▲": "^",
    "●•◆◎": "*",
    "○◌◇◔◑◕": "o",
    "∅⊘": "0",
    "–—▱": "-",
    "·…": ".",
    "▰■": "#",
    "“”": '"',
    "↻": "@",
    "‼": "!",
    "±": "~",
}
_HORIZONTAL_LINES = "─━┄┅┈┉╌╍═╴╶╸╺╼╾▔▀"
_VERTICAL_LINES = "│┃┆┇┊┋╎╏║╵╷╹╻╽╿▏▎▍▌▋▊▉▕▐"
_LOW_BLOCKS = "▁▂▃"


def _build_table() -> dict[int, str]:
    table = dict.fromkeys(range(0x2500, 0x2580), "+")  # corners and crossings of lines
    table |= dict.fromkeys(range(0x2580, 0x25A0), "#")  # blocks
    table |= dict.fromkeys(range(0x2800, 0x2900), ".")  # braille patterns
    for characters, replacement in (
        *_SIGNS.items(),
        (_HORIZONTAL_LINES, "-"),
        (_VERTICAL_LINES, "|"),
        (_LOW_BLOCKS, "_"),
    ):
        table |= dict.fromkeys(map(ord, characters), replacement)
    return table


ASCII_TABLE = _build_table()
"""The ASCII character for each sign, line and block. All of them are one cell wide."""


def replace_signs(text: str) -> str:
    """Replace the characters of :data:`ASCII_TABLE`. Letters, for example in names, are not changed."""
    return text if text.isascii() else text.translate(ASCII_TABLE)


def uses_ascii_signs(symbols: str, environ: Mapping[str, str]) -> bool:
    """Return whether to replace signs. ``symbols``: the setting of this name (``auto``, ``unicode`` or ``ascii``)."""
    return symbols == "ascii" or (symbols == "auto" and not has_unicode_locale(environ))


def has_unicode_locale(environ: Mapping[str, str]) -> bool:
    """Return whether the locale uses UTF-8, or is not set at all, as in most containers."""
    ctype, language = environ.get("LC_CTYPE", ""), environ.get("LANG", "")
    if ctype in _COERCED_CTYPES and language in ("C", "POSIX"):
        ctype = ""
    name = environ.get("LC_ALL") or ctype or language
    charset = name.partition("@")[0].rpartition(".")[2]
    return not name or charset.lower().replace("-", "") == "utf8"
