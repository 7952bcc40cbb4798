"""Tests of all model structs: frozen, keyword-only, camelCase in JSON, and no secret in their texts.

The names in the settings of provider processes are those of a TOML file, which are not camelCase.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from io import StringIO
from pprint import pformat
from typing import Any

import msgspec
import pytest
from rich.console import Console

import sealyard.model
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.base import FrozenStruct
from sealyard.model.key_commands import ImportCertificate, ImportKey
from sealyard.model.key_holder_messages import OpenKeys
from sealyard.model.provider_settings import ProcessSettings
from sealyard.model.requests import CertificateContent, ExportedKey, KeyContent, KeyImport
from sealyard.model.worker_messages import FromWorker, KeyRequest, KeyResponse, ToWorker

SECRET = "correct horse battery staple"

for module in pkgutil.iter_modules(sealyard.model.__path__):
    importlib.import_module(f"sealyard.model.{module.name}")


def list_subclasses(base: type[FrozenStruct] = FrozenStruct) -> list[type[FrozenStruct]]:
    return [each for child in base.__subclasses__() for each in (child, *list_subclasses(child))]


STRUCTS = sorted(
    (each for each in list_subclasses() if each.__module__.startswith("sealyard.model.")),
    key=lambda each: each.__name__,
)


@pytest.mark.parametrize(
    "struct", [each for each in STRUCTS if each is not ProcessSettings], ids=lambda each: each.__name__
)
def test_struct_is_frozen_and_camel_case(struct: type[FrozenStruct]) -> None:
    assert struct.__struct_config__.frozen
    for field in msgspec.structs.fields(struct):
        assert re.fullmatch(r"[a-z][a-zA-Z0-9]*", field.encode_name)
        parts = field.name.split("_")
        assert field.encode_name == parts[0] + "".join(part.title() for part in parts[1:])


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda each: each.__name__)
def test_struct_requires_keyword_arguments(struct: type[FrozenStruct]) -> None:
    count = len(msgspec.structs.fields(struct))
    with pytest.raises(TypeError):
        struct(*range(count or 1))


def make_values_with_secret() -> list[FrozenStruct]:
    open_keys = OpenKeys(workspace="/w", workspace_id="w1", master_key=SECRET.encode())
    command = ImportKey(
        uri="local:a",
        content=SECRET.encode(),
        kind=KeyType.ED25519,
        purpose=KeyPurpose.DATA,
        created_by="USER:a",
        password=SECRET,
        certificate=SECRET.encode(),
    )
    certificate = ImportCertificate(uri="local:a", version=1, content=SECRET.encode())
    contents = (
        KeyContent(uri="local:a", content=SECRET.encode(), kind=KeyType.ED25519, password=SECRET),
        CertificateContent(uri="local:a", content=SECRET.encode()),
        ExportedKey(uri="local:a", version=1, content=SECRET.encode()),
        KeyResponse(request_id=1, secret=SECRET.encode()),
    )
    request = KeyImport(uri="local:a", path="/a.p12", kind=KeyType.ED25519, password=SECRET)
    requests = [KeyRequest(request_id=1, command=each) for each in (command, certificate)]
    return [open_keys, command, certificate, request, *contents, *requests]


@pytest.mark.parametrize("value", make_values_with_secret(), ids=lambda each: type(each).__name__)
def test_printed_value_hides_its_secret(value: FrozenStruct) -> None:
    output = StringIO()
    Console(file=output, width=200).print(value, [value])
    for text in (repr(value), str(value), f"{value}", pformat(value), repr([value]), output.getvalue()):
        assert SECRET not in text
        assert type(value).__name__ in text


def message_types(union: Any) -> list[type[FrozenStruct]]:
    return list(union.__args__)


@pytest.mark.parametrize("direction", [ToWorker, FromWorker])
def test_message_tag_is_its_type_name(direction: Any) -> None:
    tags = [struct.__struct_config__.tag for struct in message_types(direction)]
    assert tags == [struct.__name__ for struct in message_types(direction)]


@pytest.mark.parametrize("value", [each for each in make_values_with_secret() if isinstance(each, KeyRequest)])
def test_message_with_secret_round_trips(value: FrozenStruct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value), type=ToWorker | OpenKeys) == value
