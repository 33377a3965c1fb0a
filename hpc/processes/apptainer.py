"""Command lines that run a program in an Apptainer (or Singularity) image. Nothing runs here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deeptool.errors import UserError

PROGRAMS = ("apptainer", "singularity")


@dataclass(frozen=True)
class Images:
    """The images that servers run in.

    Parameters
    ----------
    kafka, zookeeper : Path
        SIF files.
    program : str
        What runs them: `find`.
    """

    kafka: Path
    zookeeper: Path
    program: str


def find() -> str:
    """The path of ``apptainer``, else of ``singularity``.

    Raises
    ------
    UserError
        When neither is there.
    """
    for name in PROGRAMS:
        if path := shutil.which(name):
            return path
    raise UserError(
        "images need Apptainer or Singularity",
        seen=f"neither {' nor '.join(PROGRAMS)} on PATH",
        next_step="load your site's module of it, or run without images",
    )


def runs(argv: Sequence[str]) -> bool:
    """Whether a command line runs something in an image."""
    return Path(argv[0]).name in PROGRAMS


def check_image(path: Path) -> None:
    """Raise `UserError` unless `path` is a file."""
    if not path.is_file():
        raise UserError("there is no such image", seen=str(path), next_step="make build-sif")


def exec_argv(
    program: str,
    image: Path,
    argv: Sequence[str],
    *,
    binds: Sequence[Path] = (),
    nv: bool = False,
    pid: bool = False,
    pwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """The command line that runs `argv` in `image`.

    It sees the image and `binds`, and neither the home folder, the working directory nor the
    environment of whoever starts it.

    Parameters
    ----------
    program : str
        `find`.
    image : Path
        A SIF file.
    argv : sequence of str
        The program in the image, and its arguments.
    binds : sequence of Path
        Folders to see at the same place, to read and write.
    nv : bool
        Whether it gets the GPUs and their libraries.
    pid : bool
        Whether its processes live in a namespace of their own, and so end together.
    pwd : Path, optional
        Its working directory, one of `binds` or below.
    env : mapping, optional
        Its environment. It can be read by every user of the machine: no secrets.

    Raises
    ------
    UserError
        When a name holds a character that has a meaning on that command line.
    """
    options = ["--cleanenv", "--no-home", "--no-mount", "cwd"]
    options += ["--nv"] if nv else []
    options += ["--pid"] if pid else []
    options += ["--pwd", str(pwd)] if pwd else []
    for folder in dict.fromkeys(map(str, binds)):
        if set(folder) & set(",:"):
            raise UserError(
                "a folder with a comma or a colon in its path cannot be bound into an image",
                seen=folder,
                valid="a folder without them",
            )
        options += ["--bind", folder]
    for key, value in (env or {}).items():
        if "," in value or '"' in value:
            raise UserError(
                "this value cannot be passed to an image",
                seen=f"{key}={value}",
                valid="one without commas and quotation marks",
            )
        options += ["--env", f"{key}={value}"]
    return (program, "exec", *options, str(image), *argv)
