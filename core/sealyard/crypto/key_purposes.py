"""Which signing keys may sign packages, messages and digests."""

from __future__ import annotations

from sealyard.crypto.algorithms import SIGNATURES, SigningInput
from sealyard.model.algorithms import KeyPurpose, SigningAlgorithm
from sealyard.model.errors import InvalidKeyError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.tasks import TaskKind


def default_purpose(algorithm: SigningAlgorithm) -> KeyPurpose:
    """Return the purpose of a generated signing key for which the user has not chosen one."""
    spec = SIGNATURES[algorithm]
    can_sign_packages = spec.number is not None and spec.input is SigningInput.MESSAGE
    return KeyPurpose.BOTH if can_sign_packages else KeyPurpose.DATA


def check_key_purpose(kind: TaskKind, algorithm: SigningAlgorithm, purpose: KeyPurpose) -> None:
    """Raise :class:`InvalidKeyError` if a task of this kind must not use a signing key with this purpose."""
    if kind is TaskKind.PACKAGING and purpose is KeyPurpose.DATA:
        raise InvalidKeyError(
            "The signing key is for data, not for packages.",
            "Use a device configuration whose signing key is for packages.",
        )
    if kind is not TaskKind.SIGNING:
        return
    if purpose is KeyPurpose.PACKAGE:
        raise InvalidKeyError(
            "The signing key is for packages, not for data.",
            Hint.of(HintCode.USE_DATA_KEY),
        )
    if SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST and purpose is not KeyPurpose.DATA:
        raise InvalidKeyError(
            "A digest can only be signed with a key for data, because approvers cannot see what it stands for.",
            Hint.of(HintCode.USE_DATA_KEY),
        )
