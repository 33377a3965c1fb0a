"""The registry of backends, and that nothing but a backend's own folder knows its name."""

from __future__ import annotations

import pytest
from paths import ROOT

from deeptool.errors import UserError
from hpc.backends import BACKENDS
from hpc.run.backend import backend_named


@pytest.mark.parametrize("name", BACKENDS)
def test_each_of_the_registry_is_there(name: str) -> None:
    assert backend_named(name).traits.file_seconds > 0


def test_a_name_that_is_not_registered() -> None:
    with pytest.raises(UserError, match="there is no such backend") as caught:
        backend_named("pbs")
    assert caught.value.valid == "local, slurm"


def test_a_scheduler_is_named_in_its_folder_and_the_registry_only() -> None:
    found = {
        str(file.relative_to(ROOT)): line.strip()
        for file in (ROOT / "hpc").rglob("*.py")
        for line in file.read_text().splitlines()
        if "slurm" in line.lower() and file.parent.name != "slurm"
    }
    # The help of `render` names it for who looks for the word.
    assert found.pop("hpc/backends.py") == '"slurm": "hpc.slurm.backend",'
    assert list(found) == ["hpc/commands/render.py"]


def test_no_code_asks_for_the_name_of_a_backend() -> None:
    for file in (ROOT / "hpc").rglob("*.py"):
        assert '== "slurm"' not in file.read_text(), file
        assert '== "local"' not in file.read_text(), file
