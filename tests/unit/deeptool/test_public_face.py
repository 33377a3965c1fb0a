"""The names of `import deeptool`: there, seen by editors, and loaded late."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import deeptool

HEAVY = ("tensorflow", "keras", "confluent_kafka", "pyarrow", "numpy", "click")


def test_importing_deeptool_loads_nothing_heavy() -> None:
    code = f"import sys, deeptool; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", deeptool.__all__)
def test_every_public_name_is_documented_code(name: str) -> None:
    value = getattr(deeptool, name)
    assert inspect.isclass(value) or inspect.isfunction(value)
    # Inside the package `open` has a name that does not hide Python's own.
    assert value.__name__ == {"open": "open_dataset"}.get(name, name)
    assert inspect.getdoc(value)
    assert name in dir(deeptool)


def test_editors_see_the_same_names() -> None:
    tree = ast.parse(Path(deeptool.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "without `as`, type checkers take it for private"
            seen[alias.name] = node.module
    assert seen == deeptool._PUBLIC
    assert sorted(seen) == sorted(deeptool.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'uplaod'"):
        deeptool.uplaod  # noqa: B018
