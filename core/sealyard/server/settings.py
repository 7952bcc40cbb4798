"""What a server is set up with: a strict TOML file, overridden by the options of `sealyard serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
from sealyard.model.safe_text import escape_text

LogForm = Literal["json", "text"]


class OidcSettings(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """One issuer of access tokens (OpenID Connect). Empty ``issuer``: our own tokens only."""

    issuer: Annotated[str, Meta(description="As in the tokens' iss, and where its discovery document is.")] = ""
    audience: Annotated[str, Meta(description="Tokens must name it in aud.")] = ""
    algorithms: Annotated[str, Meta(description="Those that are believed, separated by spaces.")] = (
        "RS256 PS256 ES256 EdDSA"
    )
    subject_claim: Annotated[
        str, Meta(description="The claim that names a person; sub says who it is. At Entra ID, have idtyp sent.")
    ] = "preferred_username"
    roles_claim: Annotated[str, Meta(description="The claim with the roles; dots lead inside.")] = "roles"
    client_claim: Annotated[
        str, Meta(description="The claim that names a machine client, without a person. Else azp; Entra ID v1: appid.")
    ] = "client_id"
    jwks_uri: Annotated[str, Meta(description="Where its keys are. Empty: as its discovery document says.")] = ""
    groups: Annotated[
        dict[str, str],
        Meta(description='Groups by role: "fw-owners" = "owners". With any, other roles count for nothing.'),
    ] = msgspec.field(default_factory=dict)


class ServerSettings(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """All of it, with the defaults. Field names are the keys of the file."""

    listen: Annotated[str, Meta(description="Address and port. Port 0: any that is free.")] = "127.0.0.1:8750"
    tls_certificate: Annotated[str, Meta(description="A PEM file: the certificate and those above it.")] = ""
    tls_key: Annotated[str, Meta(description="A PEM file: its private key.")] = ""
    behind_proxy: Annotated[
        bool, Meta(description="A proxy in front ends TLS; without this plain HTTP stays on this machine.")
    ] = False
    trusted_proxies: Annotated[str, Meta(description="Whose X-Forwarded headers are believed.")] = "127.0.0.1"
    public_url: Annotated[str, Meta(description="How clients reach it, for links. Empty: as they asked.")] = ""
    max_upload_gib: Annotated[float, Meta(ge=0.001, le=4096, description="Of one upload or multipart body.")] = 64.0
    requests_per_minute: Annotated[
        float,
        Meta(
            ge=1,
            le=1_000_000,
            description="For each subject, issuer's account, and result by its link; short bursts may pass.",
        ),
    ] = 6000.0
    shutdown_timeout_seconds: Annotated[
        float, Meta(ge=0, le=3600, description="How long running work may take to finish at the end.")
    ] = 30.0
    allow_private_webhooks: Annotated[
        bool, Meta(description="Webhooks may reach loopback, link-local and private addresses, and plain HTTP.")
    ] = False
    public_metrics: Annotated[
        bool, Meta(description="/metrics answers other machines too; it names tenants, and counts what they do.")
    ] = False
    socket_group: Annotated[str, Meta(description="The group that may use the workspace's own socket.")] = ""
    log_format: Annotated[LogForm, Meta(description="json: one object a line. text: for a terminal.")] = "json"
    tenants: Annotated[
        dict[str, str], Meta(description='Workspaces by tenant: "acme" = "/srv/acme". Empty: the one chosen.')
    ] = msgspec.field(default_factory=dict)
    oidc: Annotated[OidcSettings, Meta(description="Access tokens of an issuer.")] = OidcSettings()

    @property
    def max_upload_bytes(self) -> int:
        """In bytes."""
        return int(self.max_upload_gib * 1024**3)

    @property
    def tls(self) -> bool:
        return bool(self.tls_certificate)


def load_server_settings(path: Path) -> ServerSettings:
    """Raises :class:`UsageError` for the first key that is not understood, and where there is no such file."""
    from sealyard.client.config.settings_loader import convert, read_toml

    if not path.exists():
        raise UsageError(
            f"{escape_text(str(path))} is not there.", "`sealyard config example --server` prints one to begin with."
        )
    return convert(read_toml(path), ServerSettings, str(path))
