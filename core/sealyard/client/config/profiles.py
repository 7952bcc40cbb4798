"""Profiles: a workspace or a server and an identity on it, by name. A person's own, and those of a workspace.

A person's profiles lie in the configuration folder (XDG); those that belong to a workspace in its `profiles.json`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import NotFoundError, StorageError, UsageError, WorkspaceError
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspacePaths

WORKSPACE_VARIABLE = "SEALYARD_WORKSPACE"
PROFILE_VARIABLE = "SEALYARD_PROFILE"


class Profile(FrozenStruct, frozen=True, kw_only=True):
    """``workspace``: the folder, empty in a workspace's own file. ``downloads``: where results go, if said.

    ``server``: its base URL, where the workspace is on one; with ``tenant`` where it has several, and ``ca``, a file
    of certificates to trust besides the system's.
    """

    name: str
    identity: str
    workspace: str = ""
    downloads: str = ""
    server: str = ""
    tenant: str = ""
    ca: str = ""

    @property
    def location(self) -> str:
        """Where it leads, as it is shown."""
        return " ".join(each for each in (self.server, self.tenant) if each) or self.workspace


class ProfileFile(FrozenStruct, frozen=True, kw_only=True):
    """The contents of a file of profiles, and which of them is meant where none is named."""

    profiles: tuple[Profile, ...] = ()
    current: str = ""

    def get(self, name: str) -> Profile | None:
        return next((each for each in self.profiles if each.name == name), None)

    def with_profile(self, profile: Profile, *, current: bool) -> ProfileFile:
        """With ``profile`` in the place of one of the same name."""
        others = tuple(each for each in self.profiles if each.name != profile.name)
        return ProfileFile(
            profiles=tuple(sorted((*others, profile), key=lambda each: each.name)),
            current=profile.name if current or not self.current else self.current,
        )

    def without(self, profile: Profile) -> ProfileFile:
        others = tuple(each for each in self.profiles if each != profile)
        return ProfileFile(profiles=others, current="" if self.current == profile.name else self.current)

    def free_name(self, wanted: str, alike: Callable[[Profile], bool]) -> str:
        """A name like ``wanted`` that no profile has, or only one that is ``alike`` what it is for."""
        plain = re.sub(r"[^A-Za-z0-9._-]", "-", wanted).strip("-._")[:50] or "workspace"
        free, number = plain, 1
        while (taken := self.get(free)) is not None and not alike(taken):
            number += 1
            free = f"{plain}-{number}"
        return free


def user_profiles_path() -> Path:
    from platformdirs import user_config_path

    return user_config_path("sealyard") / "profiles.json"


def read_profiles(path: Path) -> ProfileFile:
    """Raises :class:`WorkspaceError` for a file that holds something else."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProfileFile)
    except FileNotFoundError:
        return ProfileFile()
    except (OSError, msgspec.MsgspecError) as error:
        raise WorkspaceError(
            f"{escape_text(str(path))} cannot be read: {escape_text(str(error))}.", "Mend it, or move it away."
        ) from error


def write_profiles(path: Path, file: ProfileFile) -> None:
    """Whole or not at all; folder 0700, file 0600. Raises :class:`StorageError`."""
    temporary = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            target.write(msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")
        temporary.replace(path)
    except OSError as error:
        raise StorageError(f"{escape_text(str(path))} cannot be written: {error.strerror}.") from error


def add_profile(path: Path, profile: Profile, *, current: bool = False) -> None:
    write_profiles(path, read_profiles(path).with_profile(profile, current=current))


def workspace_profiles(place: Path) -> ProfileFile:
    """The profiles of a workspace, told where they are; no file of others leads to a server, with a token of mine."""
    file = read_profiles(WorkspacePaths(place).profiles)
    profiles = tuple(msgspec.structs.replace(each, workspace=str(place), server="") for each in file.profiles)
    return msgspec.structs.replace(file, profiles=profiles)


def profiles_of(folder: Path) -> tuple[Profile, ...]:
    """Every profile that leads to the workspace in ``folder``: its own ones, then the person's, each told where."""
    place = folder.absolute()
    mine = (each for each in read_profiles(user_profiles_path()).profiles if Path(each.workspace) == place)
    return (*workspace_profiles(place).profiles, *mine)


def selected_workspace(workspace: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The folder that is named outright: by the option, else by the environment."""
    named = workspace or (Path(found) if (found := environ.get(WORKSPACE_VARIABLE)) else None)
    return named.absolute() if named is not None else None


def has_selection(environ: Mapping[str, str]) -> bool:
    """Whether anything says which workspace is meant, even one that is not there."""
    if selected_workspace(None, environ) is not None or environ.get(PROFILE_VARIABLE):
        return True
    file = read_profiles(user_profiles_path())
    return file.get(file.current) is not None


def resolve(workspace: Path | None, name: str | None, environ: Mapping[str, str]) -> Profile:
    """The profile to work with, its workspace filled in, or a server's.

    What is named on the command line counts more than the environment, and that more than what is current.
    Raises :class:`NotFoundError` where nothing says which workspace or who one is.
    """
    found = _chosen(workspace, name, environ)
    if not found.server:
        require_workspace(Path(found.workspace))
    return found


def _chosen(workspace: Path | None, name: str | None, environ: Mapping[str, str]) -> Profile:
    place = selected_workspace(workspace, environ)
    wanted = name or environ.get(PROFILE_VARIABLE)
    if wanted is not None:
        return _named(wanted, place, strict=workspace is not None)
    return _in_workspace(place) if place is not None else _current()


def require_workspace(place: Path) -> None:
    """Raises :class:`NotFoundError`. What else keeps it from being read is told by whoever opens it."""
    with contextlib.suppress(PermissionError):
        if not WorkspacePaths(place).file.is_file():
            raise NotFoundError(
                f"There is no workspace in {escape_text(str(place))}.",
                "Make one with `sealyard init`, or name another with --workspace or --profile.",
            )


def _named(name: str, place: Path | None, *, strict: bool) -> Profile:
    if place is not None and (own := workspace_profiles(place).get(name)) is not None:
        return own
    found = read_profiles(user_profiles_path()).get(name)
    if found is None:
        raise NotFoundError(
            f"There is no profile {escape_text(name)}.", "`sealyard profile list` names those there are."
        )
    if strict and place is not None and Path(found.workspace) != place:
        raise UsageError(
            f"The profile {escape_text(name)} is for {escape_text(found.location)}, not {escape_text(str(place))}.",
            "Leave --workspace out, or add a profile for that workspace.",
        )
    return found


def _in_workspace(place: Path) -> Profile:
    """The person's current profile where it is of this workspace, then the workspace's own, then the only one."""
    require_workspace(place)
    file, own = read_profiles(user_profiles_path()), workspace_profiles(place)
    mine = [each for each in file.profiles if Path(each.workspace) == place]
    current = next((each for each in mine if each.name == file.current), None) or own.get(own.current)
    if current is not None:
        return current
    if len(mine) == 1:
        return mine[0]
    if mine:
        names = ", ".join(each.name for each in mine)
        raise UsageError("It is not said who you are in this workspace.", f"Choose one with --profile: {names}.")
    raise NotFoundError(
        f"No profile says who you are in {escape_text(str(place))}.",
        "Add one: sealyard profile add NAME --workspace DIR --identity USER:name",
    )


def _current() -> Profile:
    file = read_profiles(user_profiles_path())
    found = file.get(file.current)
    if found is None:
        raise NotFoundError(
            "No workspace is chosen.",
            "Make one with `sealyard init`, name one with --workspace or --profile, or `sealyard login` to a server.",
        )
    return found
