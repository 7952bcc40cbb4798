"""Options of sections of the worker settings, for the backends of Sealyard."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

from msgspec import Meta

from sealyard.model.base import FrozenStruct


class Pkcs11Options(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """Options of a section with the provider ``pkcs11``: keys in one token. Its secret is named ``pin``."""

    module: Annotated[str, Meta(pattern="^/", description="Absolute path of the PKCS#11 module, a shared library.")]
    token: Annotated[str, Meta(min_length=1, max_length=32, description="Label of the token.")]
    sessions: Annotated[int, Meta(ge=1, le=64, description="Number of operations that the token runs at once.")] = 4
    serial: Annotated[bool, Meta(description="Whether the module can only be called once at a time.")] = False


class VaultOptions(FrozenStruct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename=str):
    """Options of a section with the provider ``vault``: keys in one Transit engine of HashiCorp Vault or OpenBao.

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
    """Options of a section with the provider ``awskms``: keys in one region of AWS KMS.

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
"""The options of Sealyard's backends, by scheme. Backends of other packages check their own options."""

NETWORK_SCHEMES = frozenset({"awskms", "vault"})
"""The schemes whose providers use the network unless their section forbids it."""
