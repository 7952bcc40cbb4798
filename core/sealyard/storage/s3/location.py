"""The place of a workspace's artifacts in S3."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import UsageError
from sealyard.model.service_urls import is_base_url, is_protected_url

EXAMPLE = "s3://bucket/prefix?region=eu-central-1"

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_OPTIONS = frozenset({"endpoint", "region"})

MAX_PREFIX_LENGTH = 512
"""Maximum length of the prefix; keys have at most 1024 bytes."""


class S3Location(FrozenStruct, frozen=True, kw_only=True):
    """A bucket, and the prefix of all keys in it, without a slash at the end.

    ``region`` and ``endpoint`` are empty if the AWS SDK determines them. Credentials are never part of a location.
    """

    bucket: str
    prefix: str
    region: str = ""
    endpoint: str = ""

    @classmethod
    def parse(cls, url: str) -> S3Location:
        """Parse ``s3://BUCKET[/PREFIX][?region=REGION&endpoint=URL]``.

        Raises :class:`UsageError` if the URL is invalid or contains credentials. The message does not contain the URL.
        """
        try:
            parts = urlsplit(url)
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            raise _invalid_error() from None
        if "@" in parts.netloc:
            raise UsageError(
                "The URL of the artifacts contains credentials.",
                "Use the credentials chain of the AWS SDK: a role of the machine, variables, or a profile.",
            )
        if unknown := options.keys() - _OPTIONS:
            raise UsageError(
                f"The URL of the artifacts has {len(unknown)} unknown options.", "Use only region and endpoint."
            )
        location = cls(
            bucket=parts.netloc,
            prefix=unquote(parts.path).strip("/"),
            region=options.get("region", ""),
            endpoint=options.get("endpoint", ""),
        )
        location._check(parts.scheme, parts.fragment)
        return location

    def _check(self, scheme: str, fragment: str) -> None:
        prefix_parts = self.prefix.split("/") if self.prefix else []
        is_valid = (
            scheme == "s3"
            and not fragment
            and _BUCKET.fullmatch(self.bucket)
            and len(self.prefix) <= MAX_PREFIX_LENGTH
            and all(_PREFIX_PART.fullmatch(part) for part in prefix_parts)
            and (not self.region or _REGION.fullmatch(self.region))
            and (not self.endpoint or is_base_url(self.endpoint))
        )
        if not is_valid:
            raise _invalid_error()
        if self.endpoint and not is_protected_url(self.endpoint):
            raise UsageError(
                "The connection to the object store is not encrypted: inputs and results could be read.",
                "Use https; http is allowed only for a server on this machine.",
            )

    def key(self, *parts: str) -> str:
        """Return the key of an object."""
        return "/".join(filter(None, (self.prefix, *parts)))

    def __str__(self) -> str:
        return "s3://" + "/".join(filter(None, (self.bucket, self.prefix)))


def _invalid_error() -> UsageError:
    return UsageError("The URL of the artifacts is invalid.", f"Use a URL like {EXAMPLE}.")
