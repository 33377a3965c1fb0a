"""Command lines for images."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeptool.errors import UserError
from hpc.processes import apptainer


def program(folder: Path, name: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("")
    path.chmod(0o755)
    return str(path)


def test_apptainer_is_taken_before_singularity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="need Apptainer") as caught:
        apptainer.find()
    assert "neither apptainer nor singularity" in str(caught.value.seen)
    singularity = program(tmp_path, "singularity")
    assert apptainer.find() == singularity
    assert apptainer.find() != program(tmp_path, "apptainer") == apptainer.find()


def test_a_missing_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such image") as caught:
        apptainer.check_image(tmp_path / "kafka.sif")
    assert caught.value.next_step == "make build-sif"
    (tmp_path / "kafka.sif").touch()
    apptainer.check_image(tmp_path / "kafka.sif")


def test_exec_argv() -> None:
    image, scratch = Path("/i/k.sif"), Path("/scratch/a b")
    plain = apptainer.exec_argv("/bin/apptainer", image, ["java", "-version"])
    assert " ".join(plain) == (
        "/bin/apptainer exec --cleanenv --no-home --no-mount cwd /i/k.sif java -version"
    )
    full = apptainer.exec_argv(
        *("apptainer", image, ["train"]),
        binds=[scratch, Path("/data"), scratch],
        nv=True,
        pid=True,
        pwd=scratch,
        env={"A": "1=2"},
    )
    assert full == (
        *("apptainer", "exec", "--cleanenv", "--no-home", "--no-mount", "cwd", "--nv", "--pid"),
        *("--pwd", "/scratch/a b", "--bind", "/scratch/a b", "--bind", "/data", "--env", "A=1=2"),
        *("/i/k.sif", "train"),
    )


@pytest.mark.parametrize("folder", ["/a:b", "/a,b"])
def test_names_with_a_meaning_of_their_own_are_refused(folder: str) -> None:
    with pytest.raises(UserError, match="cannot be bound") as caught:
        apptainer.exec_argv("apptainer", Path("/i"), ["x"], binds=[Path(folder)])
    assert caught.value.seen == folder
    with pytest.raises(UserError, match="cannot be passed"):
        apptainer.exec_argv("apptainer", Path("/i"), ["x"], env={"A": "1,B=2"})
