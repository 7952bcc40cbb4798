"""All values are frozen, keyword-only and camelCase; those that carry a secret never show it."""

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
from sealyard.model.requests import KeyImport
from sealyard.model.worker_messages import FromWorker, ImportKey, KeyRequest, OpenKeyStore, ToWorker

SECRET = "correct horse battery staple"

for module in pkgutil.iter_modules(sealyard.model.__path__):
    importlib.import_module(f"sealyard.model.{module.name}")


def kinds(base: type[FrozenStruct] = FrozenStruct) -> list[type[FrozenStruct]]:
    return [each for child in base.__subclasses__() for each in (child, *kinds(child))]


VALUES = sorted(
    (each for each in kinds() if each.__module__.startswith("sealyard.model.")), key=lambda each: each.__name__
)


@pytest.mark.parametrize("kind", VALUES, ids=lambda each: each.__name__)
def test_a_value_is_frozen_and_camel_case(kind: type[FrozenStruct]) -> None:
    assert kind.__struct_config__.frozen
    for field in msgspec.structs.fields(kind):
        assert re.fullmatch(r"[a-z][a-zA-Z0-9]*", field.encode_name)
        parts = field.name.split("_")
        assert field.encode_name == parts[0] + "".join(part.title() for part in parts[1:])


@pytest.mark.parametrize("kind", VALUES, ids=lambda each: each.__name__)
def test_a_value_takes_its_fields_by_name_only(kind: type[FrozenStruct]) -> None:
    count = len(msgspec.structs.fields(kind))
    with pytest.raises(TypeError):
        kind(*range(count or 1))


def secrets() -> list[FrozenStruct]:
    unlock = OpenKeyStore(workspace="/w", workspace_id="w1", key_store="passphrase", passphrase=SECRET)
    taken = ImportKey(
        uri="local:a",
        path="/a.p12",
        kind=KeyType.ED25519,
        purpose=KeyPurpose.DATA,
        created_by="USER:a",
        password=SECRET,
    )
    asked = KeyImport(uri="local:a", path="/a.p12", kind=KeyType.ED25519, password=SECRET)
    return [unlock, taken, asked, KeyRequest(request_id=1, command=taken)]


@pytest.mark.parametrize("value", secrets(), ids=lambda each: type(each).__name__)
def test_no_secret_is_shown_however_it_is_printed(value: FrozenStruct) -> None:
    shown = StringIO()
    Console(file=shown, width=200).print(value, [value])
    for text in (repr(value), str(value), f"{value}", pformat(value), repr([value]), shown.getvalue()):
        assert SECRET not in text
        assert type(value).__name__ in text


def messages(union: Any) -> list[type[FrozenStruct]]:
    return list(union.__args__)


@pytest.mark.parametrize("direction", [ToWorker, FromWorker])
def test_every_message_of_a_pipe_is_known_by_its_tag(direction: Any) -> None:
    tags = [kind.__struct_config__.tag for kind in messages(direction)]
    assert tags == [kind.__name__ for kind in messages(direction)]


@pytest.mark.parametrize("value", [each for each in secrets() if not isinstance(each, KeyImport | ImportKey)])
def test_a_message_with_a_secret_arrives_whole(value: FrozenStruct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(value), type=ToWorker) == value
