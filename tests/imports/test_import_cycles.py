"""Test that modules have no import cycles, including imports for type checking and inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import sealyard
import sealyard_tui


def find_modules(package: ModuleType) -> dict[str, Path]:
    assert package.__file__ is not None
    root = Path(package.__file__).parent
    names = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def iter_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                yield f"{node.module}.{alias.name}"
                yield node.module


def import_graph(names: dict[str, Path]) -> dict[str, set[str]]:
    graph = {}
    for name, path in names.items():
        targets = list(iter_imports(path))
        submodules = {target for target in targets if target in names and target != name}
        # `from package import module` depends on the module, not on other names in the package.
        graph[name] = {
            target for target in submodules if not any(other.startswith(f"{target}.") for other in submodules)
        }
    return graph


@pytest.mark.parametrize(("package", "min_modules"), [(sealyard, 200), (sealyard_tui, 90)])
def test_modules_have_no_import_cycle(package: ModuleType, min_modules: int) -> None:
    names = find_modules(package)
    assert len(names) > min_modules
    try:
        TopologicalSorter(import_graph(names)).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_import_graph_with_cycle_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from b import B\n")
    (tmp_path / "b.py").write_text("def f():\n    import a\n")
    graph = import_graph({"a": tmp_path / "a.py", "b": tmp_path / "b.py"})
    with pytest.raises(CycleError):
        TopologicalSorter(graph).prepare()
