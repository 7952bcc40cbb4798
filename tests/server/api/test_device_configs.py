"""Test device configurations and access rules in the shapes that the Sign & Encrypt API documents."""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_csr

from sealyard.model.algorithms import X509_PKI_ALGORITHMS, EncryptionAlgorithm, SigningAlgorithm
from tests.support.authority import Authority, encode_chain
from tests.support.multipart_builder import FORM_TYPE, Field, build_form
from tests.support.server_harness import ADMIN, DEV, OWNER, STRANGER, ServerHarness, run_server, wait_until

pytestmark = pytest.mark.anyio

API = "/api/v1"
DIGEST = base64.b64encode(hashlib.sha256(b"something").digest()).decode()
ACL = {"USE": [{"id": "dev", "type": "USER"}], "APPROVE": [{"id": "owner", "type": "USER"}, "USER:admin"]}
CONTENT = {"algorithm": "AES256_CBC_PKCS7_PAD", "name": "content", "description": "new devices"}
LEGACY = {"algorithm": "AES128_CTR_NO_PAD", "name": "legacy", "description": ""}
RELEASE = {"algorithm": "ED25519", "name": "release", "description": ""}
SPARE = {"algorithm": "ECC_NIST_P256", "name": "spare", "description": "for emergencies"}

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
async def harness(shared_folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": shared_folder}) as harness:
        yield harness


@pytest.fixture(scope="module")
async def admin(harness: ServerHarness) -> httpx.AsyncClient:
    return await harness.http_client(ADMIN)


@pytest.fixture(scope="module")
async def developer(harness: ServerHarness) -> httpx.AsyncClient:
    return await harness.http_client(DEV)


async def create_device(client: httpx.AsyncClient, **members: Any) -> dict[str, Any]:
    """Create a device configuration, with a name of its own because the tests share the workspace."""
    body = {
        "name": f"door-{next(NUMBERS)}",
        "acl": ACL,
        "encryptionKeys": [CONTENT, LEGACY],
        "signingKeys": [RELEASE, SPARE],
        **members,
    }
    response = await client.post(f"{API}/deviceConfig", json=body)
    assert response.status_code == 201, response.text
    device: dict[str, Any] = response.json()
    return device


async def post_form(client: httpx.AsyncClient, path: str, device: dict[str, Any], *fields: Field) -> httpx.Response:
    content = build_form([Field("deviceConfigId", device["name"].encode()), *fields])
    return await client.post(f"{API}/{path}", headers={"Content-Type": FORM_TYPE}, content=content)


# ---- keys


async def test_all_keys_are_returned_as_documented(admin: httpx.AsyncClient, developer: httpx.AsyncClient) -> None:
    created_device = await create_device(admin)
    assert created_device == (await developer.get(f"{API}/deviceConfig/{created_device['configId']}")).json()
    for member, keys in (("encryptionKeys", [CONTENT, LEGACY]), ("signingKeys", [RELEASE, SPARE])):
        assert [{name: key[name] for name in RELEASE} for key in created_device[member]] == keys
        assert all(key["reference"] == key["uri"] for key in created_device[member])


async def test_returned_references_name_existing_keys(admin: httpx.AsyncClient) -> None:
    device = await create_device(admin)
    names = ("algorithm", "name", "description", "reference")
    copied_keys = {
        member: [{name: key[name] for name in names} for key in device[member]]
        for member in ("encryptionKeys", "signingKeys")
    }
    copy = await create_device(admin, **copied_keys)
    assert copy["encryptionKeys"] == device["encryptionKeys"]
    assert copy["signingKeys"] == device["signingKeys"]


async def test_certificate_is_a_reference_to_its_key(admin: httpx.AsyncClient, developer: httpx.AsyncClient) -> None:
    device = await create_device(admin)
    (certificate, *_) = (await developer.get(f"{API}/deviceConfig/{device['name']}/certificates")).json()
    digest = load_pem_x509_certificate(certificate["certificate"].encode()).fingerprint(SHA256())
    uri = device["signingKeys"][0]["uri"]
    for fingerprint in (digest.hex(), digest.hex(":").upper()):
        key = {"algorithm": RELEASE["algorithm"], "reference": f"x509:{fingerprint}"}
        copy = await create_device(admin, signingKeys=[key])
        assert [(key["uri"], key["reference"]) for key in copy["signingKeys"]] == [(uri, uri)]
    for reference, status in (("x509:00", 400), (f"x509:{'0' * 64}", 404)):
        body = {"name": "other", "acl": ACL, "encryptionKeys": [CONTENT]}
        key = {"algorithm": RELEASE["algorithm"], "reference": reference}
        response = await admin.post(f"{API}/deviceConfig", json={**body, "signingKeys": [key]})
        assert response.status_code == status, response.text


async def test_chain_is_returned_with_configuration_and_key(
    admin: httpx.AsyncClient, developer: httpx.AsyncClient
) -> None:
    device = await create_device(admin)
    uri = device["signingKeys"][0]["uri"]
    (chain, _) = device["chains"]
    assert [(each["subject"], each["issuer"]) for each in chain["certificates"]] == [
        (f"CN={device['name']}-signing",) * 2
    ]
    request = (await admin.post(f"{API}/key/certificateRequest", json={"uri": uri})).json()["certificateRequest"]
    root = Authority("root")
    issuer = Authority("issuer", root)
    leaf = issuer.issue(load_pem_x509_csr(request.encode()).public_key())
    content = base64.b64encode(encode_chain(root.certificate, leaf, issuer.certificate)).decode()
    response = await admin.post(f"{API}/key/certificate", json={"uri": uri, "content": content})
    assert [each["subject"] for each in response.json()["versions"][1]["issuers"]] == ["CN=issuer"]
    (chain, _) = (await developer.get(f"{API}/deviceConfig/{device['name']}")).json()["chains"]
    assert [each["subject"] for each in chain["certificates"]] == ["CN=signer", "CN=issuer"]
    (certificate, other) = (await developer.get(f"{API}/deviceConfig/{device['name']}/certificates")).json()
    assert [each["certificate"] for each in certificate["issuers"]] == [encode_chain(issuer.certificate).decode()]
    assert other["issuers"] == []
    unaccepted = base64.b64encode(encode_chain(leaf, root.certificate)).decode()
    response = await admin.post(f"{API}/key/certificate", json={"uri": uri, "content": unaccepted})
    assert (response.status_code, response.json()["code"]) == (422, "key-refused")
    assert "has a gap" in response.json()["detail"]


@pytest.mark.parametrize("member", ["encryptionKeys", "signingKeys"])
async def test_empty_key_list_is_rejected(admin: httpx.AsyncClient, member: str) -> None:
    body = {"name": "door", "acl": ACL, "encryptionKeys": [CONTENT], "signingKeys": [RELEASE], member: []}
    response = await admin.post(f"{API}/deviceConfig", json=body)
    assert (response.status_code, response.json()["code"]) == (400, "usage")


async def test_form_names_encryption_key(admin: httpx.AsyncClient, developer: httpx.AsyncClient) -> None:
    device = await create_device(admin)
    file = Field("inputFile", b"firmware", "firmware.bin")
    task = (await post_form(developer, "encryptionTask", device, file, Field("encryptionKey", b"legacy"))).json()
    assert task["encryptionKey"]["name"] == "legacy"
    task = (await post_form(developer, "encryptionTask", device, file)).json()
    assert task["encryptionKey"]["name"] == "content"


async def test_unknown_encryption_key_is_rejected(admin: httpx.AsyncClient, developer: httpx.AsyncClient) -> None:
    device = await create_device(admin)
    file = Field("inputFile", b"firmware", "firmware.bin")
    response = await post_form(developer, "encryptionTask", device, file, Field("encryptionKey", b"other"))
    assert (response.status_code, response.json()["hint"]) == (400, "Use one of: content, legacy.")


async def test_package_form_takes_no_encryption_key(admin: httpx.AsyncClient, developer: httpx.AsyncClient) -> None:
    device = await create_device(admin)
    files = Field("inputFiles", b"firmware", "firmware.bin")
    response = await post_form(developer, "packagingTask", device, files, Field("encryptionKey", b"legacy"))
    assert response.status_code == 400


async def test_certificates_of_each_version_are_returned(
    admin: httpx.AsyncClient, developer: httpx.AsyncClient
) -> None:
    device = await create_device(admin)
    path = f"{API}/deviceConfig/{device['name']}/certificates"
    certificates = (await developer.get(path)).json()
    assert [(each["kind"], each["name"], each["algorithm"], each["version"]) for each in certificates] == [
        ("signing", "release", "ED25519", 1),
        ("signing", "spare", "ECC_NIST_P256", 1),
    ]
    assert all(each["certificate"].startswith("-----BEGIN CERTIFICATE-----") for each in certificates)
    await admin.post(f"{API}/key/rotation", json={"uri": f"local:{device['name']}-signing"})
    assert (await developer.get(path)).json()[0]["version"] == 2
    assert (await developer.get(path, params={"version": 1})).json() == certificates
    assert (await developer.get(path, params={"version": 3})).status_code == 404


async def test_named_key_is_exported(admin: httpx.AsyncClient) -> None:
    device = await create_device(admin)
    path = f"{API}/deviceConfig/{device['name']}/keyExport"
    assert len((await admin.post(path, json={"confirmed": True})).content) == 32
    assert len((await admin.post(path, json={"confirmed": True, "encryptionKey": "legacy"})).content) == 16


async def test_algorithms_describe_their_references(developer: httpx.AsyncClient) -> None:
    algorithms = (await developer.get(f"{API}/algorithms")).json()
    assert {each["algorithm"] for each in algorithms["encryption"]} == set(EncryptionAlgorithm)
    assert {each["algorithm"] for each in algorithms["signing"]} == set(SigningAlgorithm)
    entries = (*algorithms["encryption"], *algorithms["signing"])
    assert {(each["referenceNeeded"], each["referenceSupported"]) for each in entries} == {(False, True)}
    assert {
        each["algorithm"] for each in entries if "public key infrastructure" in each["referenceDescription"]
    } == X509_PKI_ALGORITHMS


# ---- purposes


@pytest.mark.parametrize("algorithm", ["SHA256_RSA_3072_PSS", "SHA256_RSA_4096_PSS"])
async def test_documented_digest_task_returns_signature(
    harness: ServerHarness, admin: httpx.AsyncClient, developer: httpx.AsyncClient, algorithm: str
) -> None:
    device = await create_device(admin, signingKeys=[{"algorithm": algorithm, "name": "digests"}])
    assert any("packages are rejected" in warning for warning in device["warnings"])
    body = {"deviceConfigId": device["configId"], "inputBase64": DIGEST, "name": "digest"}
    response = await developer.post(f"{API}/signingTask", json=body)
    assert response.status_code == 201, response.text
    path = f"{API}/signingTask/{response.json()['signingTaskId']}"
    owner = await harness.http_client(OWNER)
    assert (await owner.post(f"{path}/approval", json={"decision": "APPROVED"})).status_code == 202

    async def signature() -> Any:
        return (await developer.get(path)).json().get("outcome")

    assert len(base64.b64decode(await wait_until(signature, "the task is DONE"))) in (384, 512)


async def test_package_that_its_key_cannot_sign_is_rejected(
    admin: httpx.AsyncClient, developer: httpx.AsyncClient
) -> None:
    device = await create_device(admin, signingKeys=[{"algorithm": "SHA256_RSA_3072_PSS", "name": "digests"}])
    response = await post_form(developer, "packagingTask", device, Field("inputFiles", b"firmware", "firmware.bin"))
    assert (response.status_code, response.json()["code"]) == (422, "key-refused")
    tasks = (await developer.get(f"{API}/packagingTask", params={"deviceConfigId": device["name"]})).json()
    assert tasks == []


async def test_explicit_purpose_is_respected(admin: httpx.AsyncClient, developer: httpx.AsyncClient) -> None:
    device = await create_device(admin, signingKeys=[{"algorithm": "SHA256_RSA_3072_PSS"}], purpose="package")
    response = await post_form(developer, "packagingTask", device, Field("inputFiles", b"firmware", "firmware.bin"))
    assert response.status_code == 201
    body = {"deviceConfigId": device["name"], "inputBase64": DIGEST}
    assert (await developer.post(f"{API}/signingTask", json=body)).status_code == 422


# ---- access


async def test_configuration_shows_its_subjects(
    harness: ServerHarness, admin: httpx.AsyncClient, developer: httpx.AsyncClient
) -> None:
    view = [{"id": "auditor", "type": "USER"}]
    device = await create_device(admin, acl={**ACL, "VIEW": view})
    assert device["acl"] == {
        "VIEW": [{"id": "auditor", "type": "USER", "subject": "USER:auditor"}],
        "USE": [{"id": "dev", "type": "USER", "subject": "USER:dev"}],
        "APPROVE": [
            {"id": "owner", "type": "USER", "subject": "USER:owner"},
            {"id": "admin", "type": "USER", "subject": "USER:admin"},
        ],
    }
    auditor = await harness.http_client("USER:auditor")
    for client in (developer, auditor):
        assert (await client.get(f"{API}/deviceConfig/{device['name']}")).json()["acl"] == device["acl"]
    listed_devices = (await developer.get(f"{API}/deviceConfig")).json()
    # Lists omit the certificates of generated keys.
    assert {**device, "chains": []} in listed_devices
    assert all(listed_device["acl"]["USE"] for listed_device in listed_devices)
    assert [listed_device["name"] for listed_device in (await auditor.get(f"{API}/deviceConfig")).json()] == [
        device["name"]
    ]
    stranger = await harness.http_client(STRANGER)
    assert (await stranger.get(f"{API}/deviceConfig/{device['name']}")).status_code == 404


async def test_other_actions_in_acl_are_rejected(admin: httpx.AsyncClient) -> None:
    body = {"name": "door", "acl": {"UPDATE": ["USER:dev"]}, "encryptionKeys": [CONTENT], "signingKeys": [RELEASE]}
    assert (await admin.post(f"{API}/deviceConfig", json=body)).status_code == 400


@pytest.mark.parametrize(
    "subject", ["USER:stranger", {"id": "stranger", "type": "USER"}, {"id": "stranger", "type": "user"}]
)
async def test_rule_accepts_both_forms_of_subject(admin: httpx.AsyncClient, subject: object) -> None:
    body = {"subject": subject, "resource": "RESOURCE_TYPE:AUDIT_LOG", "action": "VIEW"}
    response = await admin.post(f"{API}/acl", json=body)
    assert response.status_code == 201
    rule = response.json()
    assert rule["subject"] == {"id": "stranger", "type": "USER", "subject": "USER:stranger"}
    assert rule in (await admin.get(f"{API}/acl")).json()
    assert {**rule, "subject": "USER:stranger"} in (await admin.get(f"{API}/acl/all")).json()["rules"]
    assert (await admin.delete(f"{API}/acl/{rule['id']}")).status_code == 204


@pytest.mark.parametrize("subject", [{"id": "stranger"}, {"id": "", "type": "USER"}, {"id": "x", "type": "SYSTEM"}, 7])
async def test_invalid_subject_is_rejected(admin: httpx.AsyncClient, subject: object) -> None:
    body = {"subject": subject, "resource": "RESOURCE_TYPE:AUDIT_LOG", "action": "VIEW"}
    assert (await admin.post(f"{API}/acl", json=body)).status_code == 400


async def test_own_rules_have_documented_subjects(admin: httpx.AsyncClient, developer: httpx.AsyncClient) -> None:
    await create_device(admin)
    rules = (await developer.get(f"{API}/acl/subjects/rules")).json()
    assert {rule["action"] for rule in rules} == {"USE"}
    assert all(rule["subject"] == {"id": "dev", "type": "USER", "subject": "USER:dev"} for rule in rules)
