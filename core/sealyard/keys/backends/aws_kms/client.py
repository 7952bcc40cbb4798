"""Send requests to AWS KMS with the AWS SDK, and convert their errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from sealyard.keys.backends.endpoints import check_endpoint
from sealyard.keys.provider_options import AwsKmsOptions
from sealyard.model.errors import (
    AlreadyExistsError,
    InvalidKeyError,
    KeyProviderError,
    KeyProviderUnavailableError,
    NotFoundError,
    SealyardError,
)
from sealyard.model.provider_settings import ProviderSettings, Secrets

CONNECT_TIMEOUT_SECONDS = 3
READ_TIMEOUT_SECONDS = 10
MAX_ATTEMPTS = 3
"""With the timeouts, all attempts take less than the 45 seconds after which a worker gives up."""

MAX_CONNECTIONS = 32

_NOT_FOUND = frozenset({"NotFoundException"})
_DENIED = frozenset({"AccessDeniedException", "AccessDenied"})
_CREDENTIALS_REFUSED = frozenset(
    {
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_UNAVAILABLE = frozenset(
    {
        "DependencyTimeoutException",
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
    }
)
_THROTTLED = frozenset({"RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"})
_REFUSED: Mapping[str, tuple[str, str]] = {
    "DisabledException": ("is disabled", "Enable it in AWS KMS."),
    "KMSInvalidStateException": ("is pending deletion, or not ready for use", "See its state in AWS KMS."),
    "InvalidKeyUsageException": ("was created for another usage", "Use a key for signing, or for encryption."),
    "UnsupportedOperationException": ("does not support this operation", "Use a key of another type."),
    "InvalidArnException": ("has a name that AWS KMS does not accept", "Use the ARN or an alias of the key."),
    "ValidationException": ("has a name or type that AWS KMS does not accept here", "Use another key."),
    "InvalidCiphertextException": ("cannot decrypt this secret", "Restore the workspace from a backup."),
    "IncorrectKeyException": ("cannot decrypt this secret", "Restore the workspace from a backup."),
}
"""Errors that are explained by the key, and what users can do."""


class KmsClient:
    """Sends requests in threads. ``service``: the service in error messages.

    Error messages of AWS are never repeated: those about signatures of requests contain session tokens.
    """

    def __init__(self, client: Any, settings: ProviderSettings, region: str) -> None:
        self._client = client
        self._region = region
        self.service = f"AWS KMS in {region} (key provider {settings.name})"

    def close(self) -> None:
        self._client.close()

    async def call(self, operation: str, permission: str, uri: str, **parameters: Any) -> Mapping[str, Any]:
        """Return the response. ``permission``: the action of IAM that permits the operation.

        Raises the error that explains why the operation failed with the key ``uri``.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        method = getattr(self._client, operation)
        try:
            response: Mapping[str, Any] = await asyncio.to_thread(method, **parameters)
        except ClientError as error:
            raise self._to_error(error.response, permission, uri) from None
        except BotoCoreError as error:
            raise self._to_local_error(error) from None
        return response

    async def list_all(self, operation: str, permission: str, result: str) -> list[Mapping[str, Any]]:
        """Return the items of all pages of a list."""
        items: list[Mapping[str, Any]] = []
        parameters: dict[str, str] = {}
        while True:
            page = await self.call(operation, permission, f"keys in {self._region}", **parameters)
            items += page.get(result, ())
            marker = page.get("NextMarker")
            if not marker:
                return items
            parameters = {"Marker": marker}

    def _to_error(self, response: Mapping[str, Any], permission: str, uri: str) -> SealyardError:
        code = str(response.get("Error", {}).get("Code", ""))
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _NOT_FOUND:
            return NotFoundError(
                f"The key {uri} does not exist in {self.service}.", "Check the name, the region and the account."
            )
        if code in _DENIED:
            return InvalidKeyError(
                f"{self.service} does not permit {permission} with {uri}.",
                f"Allow {permission} in the IAM policy of Sealyard's role or user, and in the policy of the key.",
            )
        if code in _REFUSED:
            problem, hint = _REFUSED[code]
            return InvalidKeyError(f"The key {uri} in {self.service} {problem}.", hint)
        if code == "AlreadyExistsException":
            return AlreadyExistsError(
                f"{uri} exists already in {self.service}.", "Choose another name, or register it."
            )
        if code in _CREDENTIALS_REFUSED:
            return KeyProviderError(
                f"{self.service} does not accept the credentials ({code}).",
                "Renew the credentials, and check the clock of this machine.",
            )
        if code in _THROTTLED:
            return KeyProviderUnavailableError(
                f"{self.service} limits the rate of requests for {uri}.",
                "Try again later, lower signatures_per_second in the worker settings, or ask AWS for a higher quota.",
            )
        if code in _UNAVAILABLE or status >= 500:  # noqa: PLR2004 - HTTP status codes of the server
            return KeyProviderUnavailableError(
                f"{self.service} is not available at the moment ({code}).", "Try again later."
            )
        return KeyProviderError(
            f"{self.service} refused {permission} with {uri} ({code[:60]}).", "See the key in AWS KMS."
        )

    def _to_local_error(self, error: Exception) -> KeyProviderError:
        """Return an error for a request without a response. The words of ``error`` could contain parameters."""
        from botocore import exceptions

        if isinstance(error, exceptions.SSLError):
            return KeyProviderError(
                f"The certificate of {self.service} is not trusted.", "Check the option endpoint and the proxy."
            )
        if isinstance(error, exceptions.ReadTimeoutError):
            return KeyProviderUnavailableError(f"{self.service} does not answer in time.", "Try again later.")
        if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
            return KeyProviderUnavailableError(
                f"{self.service} is not reachable.", "Check the network and the options region and endpoint."
            )
        if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            return KeyProviderError(
                f"There are no credentials for {self.service}.",
                "Attach a role to this machine, or set the secrets access_key_id and secret_access_key.",
            )
        return KeyProviderError(
            f"The AWS SDK cannot send requests to {self.service} ({type(error).__name__}).",
            "Check the credentials and the options of the key provider.",
        )


def create_client(settings: ProviderSettings, options: AwsKmsOptions, secrets: Secrets) -> KmsClient:
    """Return a client with the credentials of the settings, or else those that the SDK finds.

    Raises :class:`KeyProviderError` if the SDK is not installed or does not accept the settings.
    """
    if options.endpoint:
        check_endpoint(settings, "endpoint", options.endpoint)
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise KeyProviderError(
            f"The key provider {settings.name} needs the AWS SDK, which is not installed.",
            "Run: pip install 'sealyard[aws]'",
        ) from None
    # With the level DEBUG, the SDK logs requests with their plaintexts and tokens.
    for name in ("boto3", "botocore", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": MAX_ATTEMPTS},
        max_pool_connections=MAX_CONNECTIONS,
        user_agent_extra="sealyard",
    )
    try:
        session = boto3.session.Session(region_name=options.region, **_read_credentials(settings, secrets))
        client = session.client("kms", endpoint_url=options.endpoint or None, config=config)
    except (BotoCoreError, ValueError) as error:
        raise KeyProviderError(
            f"The AWS SDK does not accept the settings of the key provider {settings.name} ({type(error).__name__}).",
            "Correct its section in the worker settings, or the configuration of the SDK.",
        ) from None
    return KmsClient(client, settings, options.region)


def _read_credentials(settings: ProviderSettings, secrets: Secrets) -> dict[str, str]:
    """Return the credentials of the settings, or nothing if there are none."""
    if not secrets.values.keys() & {"access_key_id", "secret_access_key"}:
        return {}
    return {
        f"aws_{name}": secrets.require(name, settings).decode(errors="replace")
        for name in ("access_key_id", "secret_access_key")
    }
