"""The environment of the key holder and of the crypto workers."""

from __future__ import annotations

from collections.abc import Mapping

ALLOWED_VARIABLES = frozenset(
    {
        "DBUS_SESSION_BUS_ADDRESS",  # with DISPLAY, for the OS keyring
        "DISPLAY",
        "DYLD_LIBRARY_PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LOGNAME",
        "PATH",
        "SEALYARD_ANCHORS",
        "SEALYARD_WORKER_SETTINGS",
        "SEALYARD_WORKSPACE",
        "TMPDIR",
        "TZ",
        "USER",
        "VIRTUAL_ENV",
        "WAYLAND_DISPLAY",
    }
)
"""Environment variables that a worker inherits; see also :data:`ALLOWED_VARIABLE_PREFIXES`."""

ALLOWED_VARIABLE_PREFIXES = ("LC_", "PYTHON", "XDG_")


def select_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a worker may see.

    The engine's environment can contain the secrets of other workspaces, under names that this module does not know.
    """
    return {
        name: value
        for name, value in environ.items()
        if name in ALLOWED_VARIABLES or name.startswith(ALLOWED_VARIABLE_PREFIXES)
    }
