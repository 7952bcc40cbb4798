"""Names of keys in AWS KMS: the ARN of a key, the ARN of an alias, or an alias."""

from __future__ import annotations

import re

from sealyard.model.base import FrozenStruct

_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]{1,250}")
_ARN = re.compile(
    r"arn:(?P<partition>aws[a-z-]*):kms:(?P<region>[a-z0-9-]+):(?P<account>\d{12}):"
    r"(?P<resource>key/[A-Za-z0-9-]+|alias/[A-Za-z0-9/_-]{1,250})"
)
_RESERVED_PREFIX = "alias/aws/"


class KmsName(FrozenStruct, frozen=True, kw_only=True):
    """A parsed name. ``region`` and ``account`` are empty in an alias without ARN."""

    text: str
    resource: str
    region: str = ""
    account: str = ""

    @property
    def is_alias(self) -> bool:
        return self.resource.startswith("alias/")

    @property
    def is_reserved(self) -> bool:
        """Whether it is the alias of a key that AWS manages."""
        return self.resource.startswith(_RESERVED_PREFIX)

    def to_arn(self, key_arn: str) -> str:
        """Return the ARN of this alias, which is in the region and account of its key."""
        return f"{key_arn.rpartition(':')[0]}:{self.resource}"


def format_uri(name: str) -> str:
    return f"awskms:{name}"


def parse_kms_name(text: str) -> KmsName | None:
    """Return the parsed name, or None if ``text`` is not the name of a key."""
    if _ALIAS.fullmatch(text):
        return KmsName(text=text, resource=text)
    match = _ARN.fullmatch(text)
    if match is None:
        return None
    return KmsName(text=text, resource=match["resource"], region=match["region"], account=match["account"])
