"""Test which signing keys allow which tasks, and that a task is rejected before its approval, not after it."""

from __future__ import annotations

import hashlib

import pytest

from sealyard.crypto.algorithms import SIGNATURES, SigningInput
from sealyard.crypto.key_purposes import check_key_purpose
from sealyard.engine.devices.config_keys import DATA_ONLY_WARNING, DUAL_USE_WARNING, PACKAGE_ONLY_WARNING
from sealyard.engine.state.tables import TASKS
from sealyard.model.algorithms import KeyPurpose, SigningAlgorithm
from sealyard.model.errors import InvalidKeyError
from sealyard.model.tasks import TaskKind, TaskStatus
from tests.support.engine_harness import EngineHarness

pytestmark = pytest.mark.anyio

MESSAGE_ALGORITHM = SigningAlgorithm.ED25519
DIGEST_ALGORITHMS = (SigningAlgorithm.SHA256_RSA_3072_PSS, SigningAlgorithm.SHA256_RSA_4096_PSS)
ML_DSA_ALGORITHMS = (SigningAlgorithm.ML_DSA_44, SigningAlgorithm.ML_DSA_65, SigningAlgorithm.ML_DSA_87)
DIGEST = hashlib.sha256(b"something").digest()

ALLOWED_KINDS = {
    (MESSAGE_ALGORITHM, KeyPurpose.PACKAGE): {TaskKind.PACKAGING},
    (MESSAGE_ALGORITHM, KeyPurpose.DATA): {TaskKind.SIGNING},
    (MESSAGE_ALGORITHM, KeyPurpose.BOTH): {TaskKind.PACKAGING, TaskKind.SIGNING},
    (DIGEST_ALGORITHMS[0], KeyPurpose.PACKAGE): {TaskKind.PACKAGING},
    (DIGEST_ALGORITHMS[0], KeyPurpose.DATA): {TaskKind.SIGNING},
    (DIGEST_ALGORITHMS[0], KeyPurpose.BOTH): {TaskKind.PACKAGING},
}


@pytest.mark.parametrize("kind", TaskKind)
@pytest.mark.parametrize(("algorithm", "purpose"), ALLOWED_KINDS)
async def test_task_that_its_key_cannot_sign_is_rejected_at_creation(
    harness: EngineHarness, algorithm: SigningAlgorithm, purpose: KeyPurpose, kind: TaskKind
) -> None:
    await harness.create_device("door", signing=algorithm, purpose=purpose)
    calls = {
        TaskKind.PACKAGING: lambda: harness.package(config="door"),
        TaskKind.ENCRYPTION: lambda: harness.encryption(config="door"),
        TaskKind.SIGNING: lambda: harness.signing(config="door", message=DIGEST, is_digest=_takes_digest(algorithm)),
    }
    if kind is TaskKind.ENCRYPTION or kind in ALLOWED_KINDS[algorithm, purpose]:
        task = await calls[kind]()
        check_key_purpose(task.kind, algorithm, purpose)
        return
    with pytest.raises(InvalidKeyError):
        await calls[kind]()
    with pytest.raises(InvalidKeyError):
        check_key_purpose(kind, algorithm, purpose)
    assert harness.engine.store.count(TASKS.name) == 0


@pytest.mark.parametrize("algorithm", SigningAlgorithm)
async def test_default_purpose_of_generated_key_follows_algorithm(
    harness: EngineHarness, algorithm: SigningAlgorithm
) -> None:
    device = await harness.create_device("door", signing=algorithm)
    takes_digest = algorithm in DIGEST_ALGORITHMS
    is_for_data = takes_digest or algorithm in ML_DSA_ALGORITHMS
    assert harness.shelf.infos[device.signing.uri].purpose is (KeyPurpose.DATA if is_for_data else KeyPurpose.BOTH)
    task = await harness.signing(config="door", message=DIGEST, is_digest=takes_digest)
    assert task.status is TaskStatus.WAITING
    assert (DATA_ONLY_WARNING in device.warnings) == is_for_data
    assert (DUAL_USE_WARNING in device.warnings) == (not is_for_data)


@pytest.mark.parametrize("purpose", [KeyPurpose.PACKAGE, KeyPurpose.BOTH])
async def test_explicit_purpose_without_digest_signing_warns(harness: EngineHarness, purpose: KeyPurpose) -> None:
    device = await harness.create_device("door", signing=DIGEST_ALGORITHMS[0], purpose=purpose)
    assert harness.shelf.infos[device.signing.uri].purpose is purpose
    assert PACKAGE_ONLY_WARNING in device.warnings


@pytest.mark.parametrize("purpose", [KeyPurpose.PACKAGE, KeyPurpose.BOTH])
async def test_ml_dsa_key_for_packages_is_rejected(harness: EngineHarness, purpose: KeyPurpose) -> None:
    with pytest.raises(InvalidKeyError, match="se-1 does not define ML_DSA_65 signatures"):
        await harness.create_device("door", signing=SigningAlgorithm.ML_DSA_65, purpose=purpose)


async def test_package_with_ml_dsa_key_is_rejected(harness: EngineHarness) -> None:
    await harness.create_device("door", signing=SigningAlgorithm.ML_DSA_65)
    with pytest.raises(InvalidKeyError, match="se-1 does not define ML_DSA_65 signatures"):
        await harness.package(config="door")


def _takes_digest(algorithm: SigningAlgorithm) -> bool:
    return SIGNATURES[algorithm].input is SigningInput.SHA256_DIGEST
