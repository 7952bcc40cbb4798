"""Names in a watch folder that do not denote content: partial files, and files of editors and file managers."""

from __future__ import annotations

PARTIAL_SUFFIXES = (
    *(".part", ".partial", ".filepart", ".tmp", ".temp", ".swp"),
    *(".crdownload", ".download", ".opdownload", ".fdmdownload", ".dtapart", ".aria2", ".ytdl", "_.gstmp"),
    *(".!qb", ".!ut", ".!bt", ".bc!", ".rsync-partial", ".uploading", ".uploadpart", ".inprogress", ".incomplete"),
)
"""Suffixes (in lower case) of files that are not complete, because a program is still copying, loading or editing."""

LOCK_SUFFIXES = (".lock", ".lck")
"""Suffixes (in lower case) of lock files. In a release such a file can be content, for example ``poetry.lock``."""

LITTER_NAMES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})
LITTER_DIRS = frozenset(
    {"$recycle.bin", "system volume information", "lost+found", "__macosx", "@eadir", "network trash folder"}
    | {"temporary items"}
)
"""Names (in lower case) of files and folders that file managers and systems create by themselves."""


def is_partial(name: str) -> bool:
    """Return whether ``name`` is that of a file that is not complete yet."""
    return name.lower().endswith(PARTIAL_SUFFIXES)


def is_lock(name: str) -> bool:
    """Return whether ``name`` is that of a lock file."""
    return name.lower().endswith(LOCK_SUFFIXES)


def is_litter(name: str) -> bool:
    """Return whether ``name`` is never content: hidden, a backup or auto-save file, or created by a file manager.

    Emacs saves unsaved changes as ``#name#``, and Office marks an open document by a file ``~$name``.
    """
    lower_name = name.lower()
    is_auto_save = len(name) > 1 and name.startswith("#") and name.endswith("#")
    return (
        name.startswith((".", "~$"))
        or name.endswith("~")
        or is_auto_save
        or lower_name in LITTER_NAMES
        or lower_name in LITTER_DIRS
    )
