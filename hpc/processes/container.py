"""How one of this project's commands is called: as it is installed here, or in its image."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deeptool.errors import WorkError
from hpc.processes import apptainer

Programs = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Container:
    """The TensorFlow image, and what processes see in it.

    Attributes
    ----------
    image : Path
    binds : tuple of Path
        Folders that are there at the same place.
    pwd : Path
        The working directory, one of them.
    cache : Path
        A folder in one of them where Matplotlib keeps what it has looked up: once, for all.
    """

    image: Path
    binds: tuple[Path, ...]
    pwd: Path
    cache: Path

    def argv(self, argv: tuple[str, ...], program: str, *, nv: bool = False) -> tuple[str, ...]:
        """`argv` in the image, by apptainer or singularity (`program`)."""
        return apptainer.exec_argv(
            *(program, self.image, argv), binds=self.binds, nv=nv, pid=True, pwd=self.pwd
        )

    def environment(self, env: Mapping[str, str], program: str) -> dict[str, str]:
        """What the starting process's environment holds for the image's to hold `env`."""
        prefix = Path(program).name.upper()
        inside = {**env, "MPLCONFIGDIR": str(self.cache)}
        return {f"{prefix}ENV_{key}": value for key, value in inside.items()}


def shell_command(
    argv: Sequence[str],
    env: Mapping[str, str | None],
    programs: Programs,
    container: Container | None,
    *,
    nv: bool = False,
) -> tuple[tuple[str, ...], dict[str, str | None]]:
    """The command line and the changes to the environment that run a command of this project.

    Parameters
    ----------
    argv : sequence of str
        The command, named by its first word.
    env : mapping
        The changes that the command itself is to see; None takes a name out.
    programs : callable
        What stands for the first word where it does not run in an image: `installed`.
    container : Container or None
        What it runs in.
    nv : bool
        Whether it gets the GPUs, in an image.

    Raises
    ------
    UserError
        The image, or what runs it, is not there.
    """
    if container is None:
        return (*programs(argv[0]), *argv[1:]), dict(env)
    program = apptainer.find()
    apptainer.check_image(container.image)
    inside = {key: value for key, value in env.items() if value is not None}
    changes = {**env, **container.environment(inside, program)}
    return container.argv(tuple(argv), program, nv=nv), changes


def installed(name: str) -> tuple[str, ...]:
    """One of this project's commands: the one beside this Python, or else as PATH has it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise WorkError(
            f"the command {name} is not installed", next_step=f"{sys.executable} -m pip install ."
        )
    return (found,)
