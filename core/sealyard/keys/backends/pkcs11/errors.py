"""Convert errors of PKCS#11 modules to errors for users."""

from __future__ import annotations

import pkcs11

from sealyard.model.errors import InvalidKeyError, KeyProviderError, KeyProviderUnavailableError, SealyardError

_NOT_INITIALIZED = "not initialized"

LOST_TOKEN_ERRORS = (
    pkcs11.DeviceError,
    pkcs11.DeviceMemory,
    pkcs11.DeviceRemoved,
    pkcs11.FunctionFailed,
    pkcs11.GeneralError,
    pkcs11.HostMemory,
    pkcs11.SessionClosed,
    pkcs11.SessionHandleInvalid,
    pkcs11.SlotIDInvalid,
    pkcs11.TokenNotPresent,
    pkcs11.TokenNotRecognised,
    pkcs11.UserNotLoggedIn,
)
"""Errors after which the module is initialized again, because its sessions are lost or may be."""

LOST_OBJECT_ERRORS = (pkcs11.KeyHandleInvalid, pkcs11.ObjectHandleInvalid, pkcs11.WrappingKeyHandleInvalid)
"""Errors after which an object is searched again."""

PIN_ERRORS = (
    pkcs11.PinExpired,
    pkcs11.PinIncorrect,
    pkcs11.PinInvalid,
    pkcs11.PinLenRange,
    pkcs11.PinLocked,
    pkcs11.UserPinNotInitialized,
)
"""Errors after which no login is tried again."""

_REFUSALS = (
    pkcs11.ArgumentsBad,
    pkcs11.AttributeReadOnly,
    pkcs11.AttributeSensitive,
    pkcs11.AttributeTypeInvalid,
    pkcs11.AttributeValueInvalid,
    pkcs11.DataInvalid,
    pkcs11.DataLenRange,
    pkcs11.DomainParamsInvalid,
    pkcs11.FunctionNotSupported,
    pkcs11.FunctionRejected,
    pkcs11.KeyNotWrappable,
    pkcs11.KeySizeRange,
    pkcs11.KeyTypeInconsistent,
    pkcs11.KeyUnextractable,
    pkcs11.MechanismInvalid,
    pkcs11.MechanismParamInvalid,
    pkcs11.TemplateIncomplete,
    pkcs11.TemplateInconsistent,
    pkcs11.WrappingKeySizeRange,
    pkcs11.WrappingKeyTypeInconsistent,
)


class TokenMissingError(pkcs11.TokenNotPresent):
    """The token is missing. ``labels``: those of the tokens that the module has."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        super().__init__()
        self.labels = labels


def is_lost_token(error: pkcs11.PKCS11Error) -> bool:
    return isinstance(error, LOST_TOKEN_ERRORS) or _NOT_INITIALIZED in str(error)


def pin_error(token: str, error: pkcs11.PKCS11Error) -> KeyProviderError:
    """Return the error for a login that the token ``token`` refused, and that is therefore not tried again."""
    match error:
        case pkcs11.PinLocked():
            problem = f"The PIN of the token {token} is locked after too many wrong attempts."
            hint = "Set a new PIN with the PIN of its security officer, then start Sealyard again."
        case pkcs11.PinExpired():
            problem = f"The PIN of the token {token} has expired."
            hint = "Change it with the tool of the manufacturer, update the secret pin, and start Sealyard again."
        case pkcs11.UserPinNotInitialized():
            problem = f"The token {token} has no PIN of its user yet."
            hint = "Set it with the PIN of the security officer, then start Sealyard again."
        case _:
            problem = f"The token {token} refused the PIN. It is not tried again, so that the token is not locked."
            hint = "Correct the secret pin in the worker settings, then start Sealyard again."
    return KeyProviderError(problem, hint)


def describe_error(token: str, action: str, error: pkcs11.PKCS11Error) -> SealyardError:
    """Return the error for users. ``action``: what was tried, for example ``sign with the key …``."""
    code = type(error).__name__
    if isinstance(error, TokenMissingError):
        labels = ", ".join(sorted(error.labels)) or "none"
        return KeyProviderUnavailableError(
            f"The token {token} is not present.",
            f"Connect it, or correct its label in the worker settings. Present tokens: {labels}.",
        )
    if isinstance(error, pkcs11.SessionCount):
        return KeyProviderError(
            f"The token {token} allows no more sessions.", "Reduce the option sessions in the worker settings."
        )
    if isinstance(error, (pkcs11.TokenWriteProtected, pkcs11.SessionReadOnly)):
        return InvalidKeyError(f"The token {token} is write-protected: cannot {action}.", "Use a key that it has.")
    if isinstance(error, _REFUSALS):
        return InvalidKeyError(
            f"The token {token} refused to {action} ({code}).",
            "Check the attributes of the key, and what the token supports.",
        )
    if is_lost_token(error):
        return KeyProviderUnavailableError(
            f"The token {token} does not answer: cannot {action} ({code}).",
            "Check that the token is connected and that its service runs.",
        )
    return KeyProviderError(
        f"The token {token} failed to {action} ({code}: {error}).", "See the documentation of its PKCS#11 module."
    )
