"""Errors of S3 and of the AWS SDK as errors of Sealyard.

Messages of the SDK and of the store are never repeated: those about signatures of requests contain session tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore import exceptions

from sealyard.model.errors import ArtifactStoreError

_MISSING_CODES = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})
_EXISTS_CODES = frozenset({"412", "PreconditionFailed"})
_DIGEST_CODES = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"})
_DENIED_CODES = frozenset({"403", "AccessDenied", "AllAccessDisabled", "AccountProblem"})
_CREDENTIALS_CODES = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_FULL_CODES = frozenset(
    {"507", "InsufficientStorage", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"}
)
_REGION_CODES = frozenset({"301", "AuthorizationHeaderMalformed", "PermanentRedirect"})
_THROTTLED_CODES = frozenset({"RequestLimitExceeded", "SlowDown", "Throttling", "ThrottlingException"})

_SERVER_ERROR = 500


class ObjectMissingError(ArtifactStoreError):
    """There is no object with this key, or no multipart upload with this id."""

    def __init__(self) -> None:
        super().__init__("An object is missing in the object store.", "Check who can delete objects of the bucket.")


class ObjectExistsError(ArtifactStoreError):
    """There is an object with this key already, and it was not replaced."""

    def __init__(self) -> None:
        super().__init__("The object store already contains this object.", "Check who can write to the bucket.")


class DigestRejectedError(ArtifactStoreError):
    """The store received other bytes than those with the digest of the request."""

    def __init__(self) -> None:
        super().__init__("The object store rejected the digest of an object.", "Try again.")


@contextmanager
def convert_errors(place: str, permission: str) -> Iterator[None]:
    """Convert errors of the SDK.

    ``place``: bucket and prefix, for messages. ``permission``: the action of IAM that the request needs. Raises
    :class:`ArtifactStoreError`, or one of the three subclasses above.
    """
    try:
        yield
    except exceptions.ClientError as error:
        raise _to_error(error.response, place, permission) from None
    except exceptions.BotoCoreError as error:
        raise _to_local_error(error, place) from None


def _to_error(response: Mapping[str, Any], place: str, permission: str) -> ArtifactStoreError:
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _MISSING_CODES:
        return ObjectMissingError()
    if code in _EXISTS_CODES:
        return ObjectExistsError()
    if code in _DIGEST_CODES:
        return DigestRejectedError()
    if code == "NoSuchBucket":
        return ArtifactStoreError(f"The bucket of {place} does not exist.", "Create it, or check its name and region.")
    if code in _DENIED_CODES:
        return ArtifactStoreError(
            f"The object store {place} does not permit {permission}.",
            f"Allow {permission} in the policy of Sealyard's role or user; see the documentation of the bucket.",
        )
    if code in _CREDENTIALS_CODES:
        return ArtifactStoreError(
            f"The object store {place} does not accept the credentials ({code}).",
            "Renew the credentials, and check the clock of this machine.",
        )
    if code in _FULL_CODES:
        return ArtifactStoreError(f"The object store {place} is full.", "Free some space or raise its quota.")
    if code in _REGION_CODES:
        return ArtifactStoreError(f"The bucket of {place} is in another region.", "Correct the option region.")
    if code in _THROTTLED_CODES:
        return ArtifactStoreError(f"The object store {place} limits the rate of requests.", "Try again later.")
    if status >= _SERVER_ERROR:
        return ArtifactStoreError(
            f"The object store {place} is not available at the moment ({code[:60]}).", "Try again later."
        )
    return ArtifactStoreError(
        f"The object store {place} refused {permission} ({code[:60]}).",
        "Check what the store supports, and the policy of the bucket.",
    )


def _to_local_error(error: Exception, place: str) -> ArtifactStoreError:
    """Return an error for a request without a complete response."""
    if isinstance(error, exceptions.SSLError):
        return ArtifactStoreError(
            f"The certificate of the object store {place} is not trusted.", "Check the option endpoint."
        )
    if isinstance(error, exceptions.ReadTimeoutError):
        return ArtifactStoreError(f"The object store {place} does not answer in time.", "Try again later.")
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return ArtifactStoreError(
            f"There are no credentials for the object store {place}.",
            "Attach a role to this machine, or configure the credentials of the AWS SDK for the account of Sealyard.",
        )
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return ArtifactStoreError(
            f"The object store {place} is not reachable.", "Check the network, and the options region and endpoint."
        )
    return ArtifactStoreError(
        f"The AWS SDK cannot send requests to the object store {place} ({type(error).__name__}).",
        "Check the URL of the artifacts, and the configuration of the SDK.",
    )
