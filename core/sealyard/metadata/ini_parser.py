"""Parse INI files line by line.

:mod:`configparser` is not used: its regular expressions need quadratic time for long lines of spaces.
"""

from __future__ import annotations

from sealyard.metadata.fields import MetadataSyntaxError, Node, ValueCounter, add_field, string_node

_COMMENT_SIGNS = ("#", ";")


def parse_ini(text: str) -> Node:
    """Parse an INI file: sections, names and values. Names before the first section belong to the file itself.

    Raises :class:`MetadataSyntaxError`, :class:`RepeatedNameError` and :class:`MetadataLimitError`, see
    :func:`sealyard.metadata.parser.parse_metadata`.
    """
    root: dict[str, Node] = {}
    section = root
    values: list[str] = []
    counter = ValueCounter()
    last_name = ""
    for number, raw_line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = raw_line.strip()
        if not line or line.startswith(_COMMENT_SIGNS):
            continue
        counter.add()
        if raw_line[0].isspace() and last_name:
            values.append(line)
            section[last_name] = string_node("\n".join(values))
        elif line.startswith("["):
            section, last_name = {}, ""
            add_field(root, _parse_section_name(line, number), section)
        else:
            last_name, value = _split_field(line, number)
            values = [value]
            add_field(section, last_name, string_node(value))
    return root


def _parse_section_name(line: str, number: int) -> str:
    if not line.endswith("]"):
        raise MetadataSyntaxError(number, len(line) + 1)
    return line[1:-1].strip()


def _split_field(line: str, number: int) -> tuple[str, str]:
    positions = [position for sign in "=:" if (position := line.find(sign)) >= 0]
    if not positions or not (name := line[: min(positions)].rstrip()):
        raise MetadataSyntaxError(number, 1)
    return name, line[min(positions) + 1 :].lstrip()
