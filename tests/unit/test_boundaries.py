"""The rules between the two packages, held against what is really imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

# Of deeptool.codec hpc takes the lists of names, so that a codec is added in one place.
SHARED = {
    *("deeptool.errors", "deeptool.files", "deeptool.lazy", "deeptool.outcome"),
    "deeptool.codec",
}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_deeptool_never_imports_hpc() -> None:
    for file in (ROOT / "deeptool").rglob("*.py"):
        assert not [name for name in imported(file) if name.split(".")[0] == "hpc"], file


def test_hpc_imports_only_the_shared_modules_of_deeptool_and_no_tensorflow() -> None:
    for file in (ROOT / "hpc").rglob("*.py"):
        names = set(imported(file))
        assert not {n for n in names if n.split(".")[0] == "deeptool"} - SHARED, file
        assert not {n for n in names if n.split(".")[0] in ("tensorflow", "keras")}, file


def test_submitit_is_imported_by_executors_only() -> None:
    importers = {
        str(file.relative_to(ROOT)): set(imported(file)) for file in (ROOT / "hpc").rglob("*.py")
    }
    found = sorted(name for name, names in importers.items() if "submitit" in names)
    assert found == ["hpc/local/executor.py", "hpc/slurm/executor.py"]


@pytest.mark.parametrize(
    "module", ["deeptool.cli", "deeptool.commands.inspect", "hpc.cli", "hpc.commands.launch"]
)
def test_no_tensorflow_without_need(module: str) -> None:
    code = f"import sys, {module}; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
