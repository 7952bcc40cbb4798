"""The worker settings: the key providers that are set up besides the local keys.

They are read from ``worker.toml`` in the workspace, or from the file that ``SEALYARD_WORKER_SETTINGS`` names; see
``worker.example.toml`` in this folder. Each section ``[keys.NAME]`` sets up one provider. The file never contains a
secret, only where to read it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import KeyProviderError
from sealyard.model.provider_routes import ProviderRoute
from sealyard.model.provider_settings import ProcessSettings, ProviderSettings, Secrets
from sealyard.model.workspace import WorkspacePaths

MAX_FILE_BYTES = 64 * 1024
"""Maximum size of the settings file and of a file with a secret."""

SETTINGS_VARIABLE = "SEALYARD_WORKER_SETTINGS"
CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"

_SECTION_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_LIBRARY = re.compile(r"\.(so[0-9.]*|dylib)$")
_OTHER_USERS = 0o077
_OTHER_WRITERS = 0o022


class SecretSource(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """Where a secret is stored. Exactly one of the fields is set."""

    file: Annotated[str, Meta(description="Path of a file that only its owner can read.")] = ""
    credential: Annotated[
        str, Meta(pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*)?$", description="Name of a systemd credential.")
    ] = ""

    def find_path(self, environ: Mapping[str, str]) -> Path:
        """Return the path of the file. A credential without a folder of credentials has a path that does not exist."""
        return Path(self.file or Path(environ.get(CREDENTIALS_VARIABLE, os.devnull), self.credential))


class Pkcs11Options(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """Options of the provider ``pkcs11``: keys in one token. Its secret is named ``pin``."""

    module: Annotated[str, Meta(pattern="^/", description="Absolute path of the PKCS#11 module, a shared library.")]
    token: Annotated[str, Meta(min_length=1, max_length=32, description="Label of the token.")]
    sessions: Annotated[int, Meta(ge=1, le=64, description="Number of operations that the token runs at once.")] = 4
    serial: Annotated[bool, Meta(description="Whether the module can only be called once at a time.")] = False


class VaultOptions(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """Options of the provider ``vault``: keys in one Transit secrets engine of HashiCorp Vault or OpenBao.

    Its secret is named ``secret_id`` if ``role_id`` is set (AppRole), otherwise ``token``.
    """

    address: Annotated[
        str, Meta(pattern="^https?://[!-~]+$", description="URL of the server: https, or http on this machine.")
    ]
    mount: Annotated[
        str, Meta(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$", description="Path of the Transit secrets engine.")
    ] = "transit"
    namespace: Annotated[str, Meta(pattern=r"^[\w./-]*$", description="Namespace of the secrets engine.")] = ""
    role_id: Annotated[str, Meta(pattern="^[!-~]*$", description="Role for the login by AppRole.")] = ""
    auth_mount: Annotated[
        str, Meta(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$", description="Path of the AppRole auth method.")
    ] = "approle"
    ca_file: Annotated[
        str,
        Meta(
            pattern="^(/.*)?$", description="Absolute path of the CA of the server (PEM); default: those of the system."
        ),
    ] = ""


class AwsKmsOptions(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """Options of the provider ``awskms``: keys in one region of AWS KMS.

    Its secrets are named ``access_key_id`` and ``secret_access_key``. Without them, the credentials are those that the
    AWS SDK finds: environment, shared files, container or instance role.
    """

    region: Annotated[
        str, Meta(pattern=r"^[a-z]{2}(-[a-z]+)+-\d{1,2}$", description="Region of the keys, such as eu-central-1.")
    ]
    account: Annotated[
        str,
        Meta(
            pattern=r"^(\d{12})?$",
            description="Number of the account of the keys, 12 digits; default: any that permits the use.",
        ),
    ] = ""
    endpoint: Annotated[
        str, Meta(pattern="^(https?://[!-~]+)?$", description="URL of a VPC endpoint; default: that of the region.")
    ] = ""
    signatures_per_second: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Limit for this process; default: none.")
    ] = None


OPTION_TYPES: Mapping[str, type[FrozenStruct]] = MappingProxyType(
    {"pkcs11": Pkcs11Options, "vault": VaultOptions, "awskms": AwsKmsOptions}
)
"""The options of the providers of Sealyard, by scheme. Providers of other packages check their own options."""


NETWORK_PROVIDERS = frozenset({"awskms", "vault"})
"""The providers of Sealyard that use the network unless their section forbids it."""

_PROCESS_KEYS = tuple(ProcessSettings.__struct_fields__)


class ProviderSection(FrozenStruct, frozen=True, kw_only=True):
    """A section of the file: the settings of a provider and its process, and where its secrets are stored."""

    settings: ProviderSettings
    process: ProcessSettings
    secret_sources: Mapping[str, SecretSource]

    @property
    def route(self) -> ProviderRoute:
        """The keys that the section serves."""
        options_type = OPTION_TYPES.get(self.settings.provider)
        if options_type is None:
            return ProviderRoute.of(self.settings)
        options = msgspec.structs.asdict(self.settings.parse_options(options_type))
        return ProviderRoute.of(msgspec.structs.replace(self.settings, options=options))

    def find_option_paths(self, workspace: Path) -> tuple[Path, ...]:
        """Return the paths in the options, which the provider must read.

        A shared library needs others of its folder, which is therefore returned unless ``workspace`` is in it.
        """
        values = (value for value in self.settings.options.values() if isinstance(value, str) and value.startswith("/"))
        return tuple(_find_library_folder(Path(value), _resolve(workspace)) for value in values)

    def read_secrets(self, environ: Mapping[str, str]) -> Secrets:
        """Return the secrets without a final line feed.

        ``environ`` names the folder of the systemd credentials. Raises :class:`KeyProviderError`, which never contains
        a secret, if a secret cannot be read or is empty, or if other users can read its file.
        """
        return Secrets(
            values={name: self._read_secret(name, source, environ) for name, source in self.secret_sources.items()}
        )

    def _read_secret(self, name: str, source: SecretSource, environ: Mapping[str, str]) -> bytes:
        path = source.find_path(environ)
        if source.credential and not path.exists():
            raise self._secret_error(
                name,
                f"there is no systemd credential {source.credential}",
                f"Add LoadCredential={source.credential}:PATH to the systemd unit that starts Sealyard, "
                "or set the secret to { file = PATH }.",
            )
        try:
            if source.file and path.stat().st_mode & _OTHER_USERS:
                raise self._secret_error(name, f"other users can read {path}", f"Run: chmod 600 {path}")
            with path.open("rb") as file:
                secret = file.read(MAX_FILE_BYTES).removesuffix(b"\n").removesuffix(b"\r")
        except OSError as error:
            raise self._secret_error(name, f"cannot read {path}: {error.strerror}", "Check the path.") from error
        if not secret:
            raise self._secret_error(name, f"{path} is empty", "Write the secret to it.")
        return secret

    def _secret_error(self, name: str, problem: str, hint: str) -> KeyProviderError:
        return KeyProviderError(f"The secret {name} of the key provider {self.settings.name}: {problem}.", hint)


def load_worker_settings(
    workspace: WorkspacePaths, environ: Mapping[str, str], tenant: str = ""
) -> tuple[ProviderSection, ...]:
    """Load the sections of the settings file; none if the workspace has no such file.

    The settings of a ``tenant`` are always in its workspace, because no tenant may use the keys of another one. Raises
    :class:`KeyProviderError`, which names the section and the key, if the file is not valid, or if the variable names a
    file that does not exist.
    """
    path = workspace.worker_settings
    if environ.get(SETTINGS_VARIABLE) and not tenant:
        path = Path(environ[SETTINGS_VARIABLE])
    elif not path.exists():
        return ()
    sections = tuple(_parse_section(path, name, section) for name, section in _read_sections(path).items())
    for section in sections:
        _check_paths(path, section, _resolve(workspace.root))
    return sections


def worker_settings_schema() -> dict[str, Any]:
    """Return the JSON Schema of the settings file."""
    provider = {"type": "string", "description": "Scheme of the key URIs, for example pkcs11."}
    secrets = {"type": "object", "additionalProperties": _struct_schema(SecretSource)}
    common = {"provider": provider, "secrets": secrets, **_struct_schema(ProcessSettings)["properties"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Worker settings of Sealyard",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "keys": {
                "type": "object",
                "propertyNames": {"pattern": f"^{_SECTION_NAME.pattern}$"},
                "additionalProperties": {
                    "type": "object",
                    "required": ["provider"],
                    "properties": common,
                    "allOf": [
                        {
                            "if": {"properties": {"provider": {"const": scheme}}},
                            "then": _options_schema(options_type, tuple(common)),
                        }
                        for scheme, options_type in OPTION_TYPES.items()
                    ],
                },
            }
        },
    }


def _struct_schema(struct: type[FrozenStruct]) -> dict[str, Any]:
    definitions: dict[str, dict[str, Any]] = msgspec.json.schema_components([struct])[1]
    return definitions[struct.__name__]


def _options_schema(options_type: type[FrozenStruct], common_keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the schema of a section with these options and the keys of all sections."""
    schema = _struct_schema(options_type)
    return {**schema, "properties": {**schema["properties"], **dict.fromkeys(common_keys, True)}}


def _read_sections(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise KeyProviderError(
            f"{path} cannot be read: {error.strerror}.",
            f"Check the path, which {SETTINGS_VARIABLE} can set, and that the account of Sealyard can read it.",
        ) from error
    if mode & _OTHER_WRITERS:
        # They could name a module of their own, which would receive the PIN.
        raise KeyProviderError(f"Other users can write {path}.", f"Run: chmod go-w {path}")
    import tomllib  # imported here because most workspaces have no such file

    if len(content) > MAX_FILE_BYTES:
        raise _settings_error(path, f"has more than {MAX_FILE_BYTES} bytes")
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        reason = f": {error}" if isinstance(error, tomllib.TOMLDecodeError) else ""
        raise _settings_error(path, f"is not valid TOML{reason}") from None
    sections = table.pop("keys", {})
    if table or not isinstance(sections, dict):
        raise _settings_error(path, f"can only have sections [keys.NAME], not {', '.join(table) or 'keys'}")
    return sections


def _parse_section(path: Path, name: str, section: Any) -> ProviderSection:
    if not _SECTION_NAME.fullmatch(name) or not isinstance(section, dict):
        raise _settings_error(path, f"has the invalid section keys.{name[:40]}")
    options = dict(section)
    provider, sources = options.pop("provider", None), options.pop("secrets", {})
    process_options = {key: options.pop(key) for key in _PROCESS_KEYS if key in options}
    if not isinstance(provider, str) or provider == "local":
        raise _settings_error(path, f"does not name the provider of keys.{name}, for example pkcs11")
    settings = ProviderSettings(name=name, provider=provider, options=options)
    if provider in OPTION_TYPES:
        settings.parse_options(OPTION_TYPES[provider])
    process = ProviderSettings(name=name, provider=provider, options=process_options).parse_options(ProcessSettings)
    if process.network is None:
        process = msgspec.structs.replace(process, network=provider in NETWORK_PROVIDERS)
    return ProviderSection(settings=settings, process=process, secret_sources=_parse_sources(path, name, sources))


def _resolve(path: Path) -> Path:
    """Follow symbolic links, as far as possible: a loop or a null character is no reason to fail here."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:
        return path


def _find_library_folder(path: Path, workspace: Path) -> Path:
    """Return the folder of a shared library, or ``path`` if it is none or ``workspace`` is in that folder."""
    folder = _resolve(path).parent
    return folder if _LIBRARY.search(path.name) and not workspace.is_relative_to(folder) else path


def _check_paths(path: Path, section: ProviderSection, workspace: Path) -> None:
    """Raise :class:`KeyProviderError` if the provider could reach the workspace, which holds keys and documents."""
    for reachable in (*map(Path, section.process.paths), *section.find_option_paths(workspace)):
        resolved = _resolve(reachable)
        if resolved.is_relative_to(workspace) or workspace.is_relative_to(resolved):
            raise KeyProviderError(
                f"{path} gives the key provider {section.settings.name} access to the workspace: {reachable}.",
                "Move the files that it needs out of the workspace, and list only their folder.",
            )


def _parse_sources(path: Path, name: str, table: Any) -> dict[str, SecretSource]:
    try:
        sources = msgspec.convert(table, dict[str, SecretSource])
    except msgspec.ValidationError:
        sources = {"": SecretSource()}
    if any(bool(source.file) is bool(source.credential) for source in sources.values()):
        raise _settings_error(
            path, f"must set each secret of keys.{name} to {{ file = PATH }} or {{ credential = NAME }}"
        )
    return sources


def _settings_error(path: Path, problem: str) -> KeyProviderError:
    return KeyProviderError(f"{path} {problem}.", "See worker.example.toml for the form of the worker settings.")
