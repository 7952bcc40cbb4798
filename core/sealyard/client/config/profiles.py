"""Profiles: named pairs of a workspace or server and an identity on it.

A user's own profiles are stored in the XDG configuration directory, those of a workspace in its `profiles.json`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from sealyard.client.config.servers import (
    CA_VARIABLE,
    SERVER_VARIABLE,
    TENANT_VARIABLE,
    TOKEN_VARIABLE,
    parse_server_url,
)
from sealyard.fs.atomic import write_atomic
from sealyard.fs.private import make_private_dir
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.errors import NotFoundError, StorageError, UsageError, WorkspaceError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspacePaths

WORKSPACE_VARIABLE = "SEALYARD_WORKSPACE"
PROFILE_VARIABLE = "SEALYARD_PROFILE"


class Profile(FrozenStruct, frozen=True, kw_only=True):
    """A workspace or server and the identity to use on it.

    ``workspace`` is the folder; it is empty in a workspace's own profile file. ``downloads`` is the folder for results,
    or empty for the default. For a workspace on a server, ``server`` is the base URL, ``tenant`` the tenant if the
    server has several, and ``ca`` a file of certificates (PEM) to trust in addition to the system's.
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
        """The server and tenant, or the workspace folder, for display."""
        return " ".join(part for part in (self.server, self.tenant) if part) or self.workspace


class ProfileFile(FrozenStruct, frozen=True, kw_only=True):
    """The contents of a profile file. ``current`` is the name of the default profile, or empty."""

    profiles: tuple[Profile, ...] = ()
    current: str = ""

    def get(self, name: str) -> Profile | None:
        return next((profile for profile in self.profiles if profile.name == name), None)

    def with_profile(self, profile: Profile, *, current: bool) -> ProfileFile:
        """Return a copy with ``profile`` added, replacing a profile of the same name.

        The profile becomes the current one if ``current`` is set or there is no current profile.
        """
        others = tuple(other for other in self.profiles if other.name != profile.name)
        return ProfileFile(
            profiles=tuple(sorted((*others, profile), key=lambda other: other.name)),
            current=profile.name if current or not self.current else self.current,
        )

    def without(self, profile: Profile) -> ProfileFile:
        """Return a copy without ``profile``. The copy has no current profile if ``profile`` was the current one."""
        others = tuple(other for other in self.profiles if other != profile)
        return ProfileFile(profiles=others, current="" if self.current == profile.name else self.current)

    def free_name(self, preferred: str, may_replace: Callable[[Profile], bool]) -> str:
        """Return a valid profile name close to ``preferred``, with a number appended if the name is in use.

        A name in use is returned unchanged if ``may_replace`` returns true for the profile of that name.
        """
        base = re.sub(r"[^A-Za-z0-9._-]", "-", preferred).strip("-._")[:50] or "workspace"
        name, number = base, 1
        while (profile := self.get(name)) is not None and not may_replace(profile):
            number += 1
            name = f"{base}-{number}"
        return name


def user_profiles_path() -> Path:
    from platformdirs import user_config_path

    return user_config_path("sealyard") / "profiles.json"


def read_profiles(path: Path) -> ProfileFile:
    """Return the profiles in the file at ``path``, or an empty :class:`ProfileFile` if it does not exist.

    Raises :class:`WorkspaceError` if the file cannot be read or is invalid.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=ProfileFile)
    except (FileNotFoundError, NotADirectoryError):  # NotADirectoryError: HOME=/dev/null
        return ProfileFile()
    except OSError as error:
        raise WorkspaceError(
            f"Cannot read {escape_text(str(path))}: {escape_text(error.strerror or '')}.",
            "Check its permissions, or set XDG_CONFIG_HOME to a folder of your own.",
        ) from error
    except JSON_ERRORS as error:
        raise WorkspaceError(
            f"Cannot read {escape_text(str(path))}: {escape_text(str(error))}.", "Fix or remove the file."
        ) from error


def write_profiles(path: Path, file: ProfileFile) -> None:
    """Replace the profile file at ``path`` (mode 0600) atomically and durably. Creates its folder with mode 0700.

    Raises :class:`StorageError` if the file cannot be written.
    """
    try:
        make_private_dir(path.parent)
        write_atomic(path, msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")
    except OSError as error:
        raise StorageError(
            f"Cannot write {escape_text(str(path))}: {error.strerror}.",
            "Check its permissions, or set XDG_CONFIG_HOME to a folder that you can write to.",
        ) from error


def require_writable_profiles() -> None:
    """Raise :class:`StorageError` if the user's profile file cannot be written.

    Called before an operation that ends with a new profile, so that it does not fail halfway.
    """
    path = user_profiles_path()
    write_profiles(path, read_profiles(path))


def add_profile(path: Path, profile: Profile, *, current: bool = False) -> None:
    """Add ``profile`` to the file at ``path``, replacing a profile of the same name.

    Raises :class:`WorkspaceError` if the file cannot be read, and :class:`StorageError` if it cannot be written.
    """
    write_profiles(path, read_profiles(path).with_profile(profile, current=current))


def workspace_profiles(folder: Path) -> ProfileFile:
    """Return the profiles stored in the workspace in ``folder``, with ``workspace`` filled in.

    The fields ``server``, ``tenant`` and ``ca`` are cleared: other users may be able to write the workspace's
    file, which must not direct this user's token to a server of their choice.
    """
    file = read_profiles(WorkspacePaths(folder).profiles)
    profiles = tuple(
        msgspec.structs.replace(profile, workspace=str(folder), server="", tenant="", ca="")
        for profile in file.profiles
    )
    return msgspec.structs.replace(file, profiles=profiles)


def profiles_of(folder: Path) -> tuple[Profile, ...]:
    """Return all profiles for the workspace in ``folder``: first those stored in the workspace, then the user's."""
    folder = folder.absolute()
    user_profiles = read_profiles(user_profiles_path()).profiles
    matching_profiles = (profile for profile in user_profiles if Path(profile.workspace) == folder)
    return (*workspace_profiles(folder).profiles, *matching_profiles)


def selected_workspace(workspace: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the selected workspace folder as an absolute path, or None if no folder is selected.

    That is ``workspace`` (the command line option) or else the folder in `SEALYARD_WORKSPACE`.
    """
    folder = workspace or (Path(env_folder) if (env_folder := environ.get(WORKSPACE_VARIABLE)) else None)
    return folder.absolute() if folder is not None else None


def has_selection(environ: Mapping[str, str]) -> bool:
    """Return whether environment variables or the current profile select a workspace or server.

    Does not check that the workspace or server exists.
    """
    if any(environ.get(variable) for variable in (WORKSPACE_VARIABLE, PROFILE_VARIABLE, SERVER_VARIABLE)):
        return True
    file = read_profiles(user_profiles_path())
    return file.get(file.current) is not None


def resolve(workspace: Path | None, name: str | None, environ: Mapping[str, str]) -> Profile:
    """Return the profile to use, with ``workspace`` filled in unless it is the profile of a server.

    ``workspace`` and ``name`` are the command line options. Options take precedence over the environment, and the
    environment over the current profile. The ``identity`` is empty if only the server in `SEALYARD_SERVER` knows to
    whom the token belongs. Raises :class:`NotFoundError` if no workspace, profile or identity is
    selected, or if the selected one does not exist. Raises :class:`UsageError` if the selection is ambiguous or
    contradictory.
    """
    profile = _select_profile(workspace, name, environ)
    if not profile.server:
        require_workspace(Path(profile.workspace))
    return profile


def _select_profile(workspace: Path | None, name: str | None, environ: Mapping[str, str]) -> Profile:
    if environ.get(SERVER_VARIABLE) and workspace is None and name is None:
        return _find_for_server(environ)
    folder = selected_workspace(workspace, environ)
    profile_name = name or environ.get(PROFILE_VARIABLE)
    if profile_name is not None:
        return _find_named(profile_name, folder, must_match_folder=workspace is not None)
    return _find_for_workspace(folder) if folder is not None else _find_current()


def require_workspace(folder: Path) -> None:
    """Raise :class:`NotFoundError` if there is no workspace in ``folder``.

    Missing file permissions are not reported here, but when the workspace is opened.
    """
    with contextlib.suppress(PermissionError):
        if not WorkspacePaths(folder).file.is_file():
            raise NotFoundError(
                f"No workspace in {escape_text(str(folder))}.",
                Hint.of(HintCode.CREATE_WORKSPACE),
            )


def _find_named(name: str, folder: Path | None, *, must_match_folder: bool) -> Profile:
    if folder is not None and (workspace_profile := workspace_profiles(folder).get(name)) is not None:
        return workspace_profile
    profile = read_profiles(user_profiles_path()).get(name)
    if profile is None:
        raise NotFoundError(f"Profile {escape_text(name)} not found.", Hint.of(HintCode.LIST_PROFILES))
    if must_match_folder and folder is not None and Path(profile.workspace) != folder:
        raise UsageError(
            f"Profile {escape_text(name)} is for {escape_text(profile.location)}, not {escape_text(str(folder))}.",
            "Select only the profile or only the workspace, or add a profile for that workspace.",
        )
    return profile


def _find_for_workspace(folder: Path) -> Profile:
    """Return the profile to use for the workspace in ``folder``.

    That is the user's current profile if it is for this workspace, else the current profile stored in the workspace,
    else the user's only profile for this workspace. Raises :class:`NotFoundError` if there is no such profile, and
    :class:`UsageError` if there are several.
    """
    require_workspace(folder)
    user_file, workspace_file = read_profiles(user_profiles_path()), workspace_profiles(folder)
    matching_profiles = [profile for profile in user_file.profiles if Path(profile.workspace) == folder]
    current_profile = next((profile for profile in matching_profiles if profile.name == user_file.current), None)
    current_profile = current_profile or workspace_file.get(workspace_file.current)
    if current_profile is not None:
        return current_profile
    if len(matching_profiles) == 1:
        return matching_profiles[0]
    if matching_profiles:
        names = ", ".join(profile.name for profile in matching_profiles)
        raise UsageError("No identity selected for this workspace.", Hint.of(HintCode.CHOOSE_PROFILE, profiles=names))
    raise NotFoundError(
        f"No profile for the workspace in {escape_text(str(folder))}.",
        Hint.of(HintCode.ADD_PROFILE),
    )


def _find_for_server(environ: Mapping[str, str]) -> Profile:
    """Return the profile to use for the server in the environment.

    With a token in the environment, or without a login for the server, the profile has no identity. Raises
    :class:`UsageError` if the environment also selects a workspace or profile.
    """
    for variable in (WORKSPACE_VARIABLE, PROFILE_VARIABLE):
        if environ.get(variable):
            raise UsageError(f"{SERVER_VARIABLE} and {variable} are both set.", "Unset one of them.")
    server, tenant = parse_server_url(environ[SERVER_VARIABLE]), environ.get(TENANT_VARIABLE, "")
    file = read_profiles(user_profiles_path())
    logins = [profile for profile in file.profiles if (profile.server, profile.tenant) == (server, tenant)]
    if environ.get(TOKEN_VARIABLE) or not logins:
        return Profile(name="server", identity="", server=server, tenant=tenant, ca=environ.get(CA_VARIABLE, ""))
    return next((profile for profile in logins if profile.name == file.current), logins[0])


def _find_current() -> Profile:
    file = read_profiles(user_profiles_path())
    profile = file.get(file.current)
    if profile is None:
        raise NotFoundError(
            "No workspace selected.",
            Hint.of(HintCode.SELECT_WORKSPACE),
        )
    return profile
