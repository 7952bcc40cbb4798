"""The settings of a server: a strictly validated TOML file, overridden by the options of ``sealyard serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text

LogFormat = Literal["json", "text"]


class OidcSettings(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """Settings for an OpenID Connect issuer whose access tokens the server accepts; ignored if ``issuer`` is empty."""

    issuer: Annotated[
        str, Meta(description="Issuer URL, as in the tokens' iss; its discovery document is found below this URL.")
    ] = ""
    audience: Annotated[str, Meta(description="Audience that tokens must contain (aud).")] = ""
    algorithms: Annotated[str, Meta(description="Accepted signature algorithms, separated by spaces.")] = (
        "RS256 PS256 ES256 EdDSA"
    )
    subject_claim: Annotated[
        str,
        Meta(
            description="Claim with the user name; sub identifies the account. With Entra ID, enable the claim idtyp."
        ),
    ] = "preferred_username"
    roles_claim: Annotated[str, Meta(description="Claim with the roles; dots select members of nested objects.")] = (
        "roles"
    )
    client_claim: Annotated[
        str,
        Meta(description="Claim with the name of a machine client; azp if it is missing. With Entra ID v1, use appid."),
    ] = "client_id"
    jwks_uri: Annotated[
        str, Meta(description="URL of the issuer's keys. If empty, it is taken from the discovery document.")
    ] = ""
    groups: Annotated[
        dict[str, str],
        Meta(description='Groups by role: "fw-owners" = "owners". If set, other roles are ignored.'),
    ] = msgspec.field(default_factory=dict)
    subject_prefix: Annotated[
        str, Meta(description="Prefix of the subjects' names. Each of several issuers needs a different one.")
    ] = ""
    tenants: Annotated[
        str, Meta(description="Tenants that accept the issuer's tokens, separated by spaces. If empty, all do.")
    ] = ""
    login_client_id: Annotated[
        str, Meta(description="Public client with which people log in. If empty, they need tokens of the server.")
    ] = ""
    login_scopes: Annotated[str, Meta(description="Scopes that logins request, separated by spaces.")] = (
        "openid offline_access"
    )
    login_parameters: Annotated[
        dict[str, str],
        Meta(description='More parameters of login requests, for example resource = "https://seal.example".'),
    ] = msgspec.field(default_factory=dict)


class ClusterSettings(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """Settings of a server that serves its workspace together with others; unused if all are the defaults."""

    url: Annotated[
        str, Meta(description='URL of the internal listener for the other servers: "https://seal1.internal:8751".')
    ] = ""
    listen: Annotated[str, Meta(description="Address and port of the internal listener, for the other servers.")] = ""
    certificate: Annotated[
        str, Meta(description="PEM file with the certificate with which this server authenticates to the others.")
    ] = ""
    key: Annotated[str, Meta(description="PEM file with the private key of the certificate.")] = ""
    ca: Annotated[
        str,
        Meta(description="PEM file with the authority that issues the certificates of these servers, and no others."),
    ] = ""
    lease_seconds: Annotated[
        float,
        Meta(ge=3, le=120, description="Seconds after which another server takes over from one that does not respond."),
    ] = 8.0

    @property
    def enabled(self) -> bool:
        """Whether the section is used."""
        return self != ClusterSettings()


class S3Settings(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """Which bytes clients exchange with the object store directly; unused if a workspace has no object store."""

    direct_uploads: Annotated[
        bool, Meta(description="Let clients send files to the object store. Otherwise they pass through the server.")
    ] = True
    redirect: Annotated[
        bool,
        Meta(
            description="Redirect downloads to the object store. The audit log then records that a result was handed "
            "out, not that it was sent."
        ),
    ] = False


class ServerSettings(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """All settings of a server, with their defaults. The field names are the keys of the settings file."""

    listen: Annotated[str, Meta(description="Address and port to listen on. Port 0 selects a free port.")] = (
        "127.0.0.1:8750"
    )
    tls_certificate: Annotated[
        str, Meta(description="PEM file with the server's certificate, followed by intermediate certificates.")
    ] = ""
    tls_key: Annotated[str, Meta(description="PEM file with the private key of the certificate.")] = ""
    behind_proxy: Annotated[
        bool, Meta(description="TLS is terminated by a reverse proxy. Otherwise plain HTTP is limited to this machine.")
    ] = False
    trusted_proxies: Annotated[
        str, Meta(description="Addresses of proxies whose X-Forwarded-* headers are trusted.")
    ] = "127.0.0.1"
    public_url: Annotated[
        str, Meta(description="Base URL for clients, used in links. If empty, that of the request is used.")
    ] = ""
    max_upload_gib: Annotated[
        float, Meta(ge=0.001, le=4096, description="Maximum size of an upload or multipart body, in GiB.")
    ] = 64.0
    requests_per_minute: Annotated[
        float,
        Meta(
            ge=1,
            le=1_000_000,
            description="Limit for each subject, issuer account, and result link; short bursts are allowed.",
        ),
    ] = 6000.0
    shutdown_timeout_seconds: Annotated[
        float, Meta(ge=0, le=3600, description="Time for running tasks to finish when the server stops.")
    ] = 30.0
    key_check_minutes: Annotated[
        float,
        Meta(ge=0.1, le=1440, description="Interval at which each active key proves that it works, in minutes."),
    ] = 10.0
    allow_private_webhooks: Annotated[
        bool,
        Meta(
            description="Allow webhooks and notifications to loopback, link-local and private addresses, and over "
            "unencrypted connections."
        ),
    ] = False
    public_metrics: Annotated[
        bool, Meta(description="Make /metrics available to other machines. It names tenants and their activity.")
    ] = False
    socket_group: Annotated[
        str, Meta(description="Operating system group whose members may use the workspace's socket.")
    ] = ""
    log_format: Annotated[LogFormat, Meta(description="json: one JSON object per line. text: for a terminal.")] = "json"
    tenants: Annotated[
        dict[str, str],
        Meta(description='Workspaces by tenant: "acme" = "/srv/acme". If empty, the selected workspace is served.'),
    ] = msgspec.field(default_factory=dict)
    anchors: Annotated[
        dict[str, str],
        Meta(
            description='Folders of the freshness anchors by tenant: "acme" = "/srv/anchors". If missing, '
            "SEALYARD_ANCHORS or a folder in the home folder."
        ),
    ] = msgspec.field(default_factory=dict)
    oidc: Annotated[
        OidcSettings | tuple[OidcSettings, ...],
        Meta(description="OpenID Connect issuer of access tokens. Several: one table [[oidc]] for each."),
    ] = OidcSettings()

    cluster: Annotated[
        ClusterSettings,
        Meta(description="Several servers for one workspace in a database. If missing, this server is the only one."),
    ] = ClusterSettings()

    s3: Annotated[S3Settings, Meta(description="Direct connections of clients to the object store.")] = S3Settings()

    @property
    def issuers(self) -> tuple[OidcSettings, ...]:
        """The configured OpenID Connect issuers."""
        issuers = (self.oidc,) if isinstance(self.oidc, OidcSettings) else self.oidc
        return tuple(issuer for issuer in issuers if issuer.issuer)

    @property
    def max_upload_bytes(self) -> int:
        return int(self.max_upload_gib * 1024**3)

    @property
    def tls(self) -> bool:
        """Whether the server itself terminates TLS."""
        return bool(self.tls_certificate)


def load_server_settings(path: Path) -> ServerSettings:
    """Load a settings file.

    Raises :class:`UsageError` if the file does not exist or contains an unknown or invalid key.
    """
    from sealyard.client.config.settings_loader import convert, read_toml

    if not path.exists():
        raise UsageError(
            f"Settings file {escape_text(str(path))} not found.",
            Hint.of(HintCode.CREATE_SERVER_SETTINGS),
        )
    table = read_toml(path)
    issuers = table.get("oidc")
    if not isinstance(issuers, list):
        return convert(table, ServerSettings, str(path))
    del table["oidc"]
    settings = convert(table, ServerSettings, str(path))
    oidc = tuple(_load_issuer(issuer, f"{path}: oidc {number}") for number, issuer in enumerate(issuers, 1))
    return msgspec.structs.replace(settings, oidc=oidc)


def _load_issuer(table: Any, source: str) -> OidcSettings:
    from sealyard.client.config.settings_loader import convert

    if not isinstance(table, dict):
        raise UsageError(f"{escape_text(source)}: not a table.", "Start each issuer with [[oidc]].")
    settings = convert(table, OidcSettings, source)
    if not settings.issuer:
        raise UsageError(f"{escape_text(source)}: missing key issuer.", "Add issuer: its URL, as in the tokens' iss.")
    return settings
