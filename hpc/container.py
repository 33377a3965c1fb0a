"""How one of this project's commands is called: as it is installed here, or in its image."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deeptool.errors import WorkError
from hpc import apptainer
from hpc.campaign import Campaign


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


def container(campaign: Campaign) -> Container | None:
    """What the producers and trials of `campaign` run in; None: as they are installed."""
    if not campaign.in_images:
        return None
    here = Path.cwd()
    binds = (here, campaign.folder, campaign.settings.parent, *campaign.images.binds)
    cache = campaign.folder / "cache"
    return Container(campaign.images.tensorflow, tuple(dict.fromkeys(binds)), here, cache)


def installed(name: str) -> tuple[str, ...]:
    """One of this project's commands: the one beside this Python, or else as PATH has it."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise WorkError(
            f"the command {name} is not installed", next_step=f"{sys.executable} -m pip install ."
        )
    return (found,)
